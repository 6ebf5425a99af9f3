"""Waiting: timers in order, descriptors, wakes from other threads."""

from __future__ import annotations

import os
import threading
import time

import pytest

from nullbox.actors.transport import poller as poller_module
from nullbox.actors.transport.poller import READABLE, Poller


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def poller(clock: Clock) -> Poller:
    return Poller(clock)


def test_timers_run_in_the_order_they_are_due_and_never_early(poller: Poller, clock: Clock) -> None:
    ran: list[str] = []
    poller.after(2, lambda: ran.append("second"))
    poller.after(1, lambda: ran.append("first"))
    poller.after(1, lambda: ran.append("first too"))
    clock.now += 0.999
    poller.run_due()
    assert ran == []
    clock.now += 5
    poller.run_due()
    assert ran == ["first", "first too", "second"]
    poller.close()


def test_a_cancelled_timer_does_not_run(poller: Poller, clock: Clock) -> None:
    ran: list[str] = []
    timer = poller.after(1, lambda: ran.append("x"))
    timer.cancel()
    timer.cancel()
    clock.now += 5
    poller.run_due()
    assert ran == []
    poller.close()


def test_a_timer_may_cancel_another_that_is_due_too(poller: Poller, clock: Clock) -> None:
    ran: list[str] = []
    poller.after(1, lambda: second.cancel())
    second = poller.after(2, lambda: ran.append("x"))
    clock.now += 5
    poller.run_due()
    assert ran == []
    poller.close()


def test_descriptors_report_data_and_end(poller: Poller) -> None:
    ours, theirs = os.pipe()
    seen: list[bytes] = []
    poller.register(ours, READABLE, lambda _events: seen.append(os.read(ours, 10)))
    os.write(theirs, b"data")
    poller.wait(None)
    os.close(theirs)
    poller.wait(None)
    assert seen == [b"data", b""]
    poller.unregister(ours)
    poller.unregister(ours)
    os.close(ours)
    poller.close()


def test_a_handler_may_unregister_another_that_is_ready_too(poller: Poller) -> None:
    pipes = [os.pipe(), os.pipe()]
    seen: list[int] = []

    def ready(index: int) -> None:
        seen.append(index)
        for each in pipes:
            poller.unregister(each[0])

    for index, (ours, theirs) in enumerate(pipes):
        poller.register(ours, READABLE, lambda _events, index=index: ready(index))
        os.write(theirs, b"x")
    poller.wait(None)
    assert len(seen) == 1
    poller.close()


def test_calls_of_other_threads_end_the_wait_and_run_here() -> None:
    poller = Poller()
    ran: list[int] = []
    other = threading.Thread(target=poller.call, args=(lambda: ran.append(threading.get_ident()),))
    other.start()
    while not ran:
        poller.wait(time.monotonic() + 5)
        poller.run_due()
    other.join()
    assert ran == [threading.get_ident()]
    assert poller.on_own_thread()
    poller.close()


def test_calls_that_wait_are_bounded(monkeypatch: pytest.MonkeyPatch, poller: Poller) -> None:
    monkeypatch.setattr(poller_module, "MAX_CALLS", 3)
    assert [poller.call(lambda: None) for _ in range(4)] == [True, True, True, False]
    poller.run_due()
    assert poller.call(lambda: None)
    poller.close()


def test_looking_in_vain_is_given_up_soon_and_tried_again_now_and_then() -> None:
    looks = [poller_module.looks_after(misses) for misses in range(130)]
    assert looks[0] == poller_module.LOOKS
    assert looks[1:9] == [poller_module.LOOKS >> misses for misses in range(1, 9)]
    assert sum(looks[9:64]) == 0
    assert looks[64] == looks[128] == poller_module.LOOKS
    assert sum(looks) < 5 * poller_module.LOOKS


def test_the_wait_ends_with_the_time_it_is_given() -> None:
    poller = Poller()
    began = time.monotonic()
    poller.wait(began + 0.02)
    assert 0.019 <= time.monotonic() - began < 2
    poller.close()

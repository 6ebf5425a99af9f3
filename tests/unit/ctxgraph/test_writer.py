"""Who commits in which thread, and what a crash does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from nullbox.ctxgraph.batch import Ack, Write
from nullbox.ctxgraph.company import QUICK_S
from nullbox.ctxgraph.store import Store
from nullbox.ctxgraph.writer import Done, GroupWriter
from nullbox.protocols.errors import NullBoxError

Maker = Callable[..., Write]


class Running:
    """A writer, and what it delivered."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.delivered: list[Done] = []
        self.news = threading.Semaphore(0)
        self.deaths: list[NullBoxError] = []
        self.threads: list[int] = []
        real = store.apply

        def apply(ops: Sequence[Any]) -> Any:
            self.threads.append(threading.get_ident())
            return real(ops)

        store.apply = apply  # type: ignore[method-assign]
        self.writer = GroupWriter(store, self._deliver, self.deaths.append)
        self.writer.start()

    def _deliver(self, done: Sequence[Done]) -> None:
        self.delivered += done
        for _ in done:
            self.news.release()

    def queued(self, op: Write) -> Any:
        """The outcome of an operation that went through the queue."""
        self.writer.submit(op, None)
        assert self.news.acquire(timeout=10)
        return self.delivered[-1][1]

    def quicken(self, quick: bool = True) -> None:
        """As if the commits before had been quick, or slow."""
        for _ in range(60):
            self.writer._pace.note(QUICK_S / 3 if quick else 3 * QUICK_S)


@pytest.fixture
def running(store: Store) -> Iterator[Running]:
    made = Running(store)
    yield made
    made.writer.stop()


def test_a_commit_at_once_is_made_in_the_callers_thread(running: Running, write: Maker) -> None:
    running.quicken()
    outcome = running.writer.at_once(write("a", "k", 1))
    assert isinstance(outcome, Ack)
    assert running.threads == [threading.get_ident()]
    assert running.delivered == []
    assert isinstance(running.queued(write("a", "k", 2)), Ack)
    assert running.threads[1] != threading.get_ident()
    assert running.store.size == 2


def test_on_a_slow_disk_nobody_is_held_up(running: Running, write: Maker) -> None:
    assert running.writer.at_once(write("a", "k", 1)) is None, "how quick this disk is, is not known yet"
    running.quicken()
    running.quicken(False)
    assert running.writer.at_once(write("a", "k", 1)) is None
    assert running.store.size == 0


def test_at_once_means_not_after_others(running: Running, write: Maker) -> None:
    gate, inside = threading.Event(), threading.Event()

    def chore() -> None:
        inside.set()
        gate.wait(10)

    running.quicken()
    running.writer.run(chore)
    assert inside.wait(10)
    assert running.writer.at_once(write("a", "k", 1)) is None, "a chore has the store"
    running.writer.submit(write("a", "k", 2), None)
    gate.set()
    assert running.news.acquire(timeout=10)
    assert running.store.size == 1


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_fault_of_ours_in_a_commit_at_once_is_the_writers_death(running: Running, write: Maker) -> None:
    """In an actor it is the actor's crash: it must not end as the answer to one call."""
    running.quicken()

    def broken(ops: Sequence[Any]) -> Any:
        raise RuntimeError("a fault inside")

    running.store.apply = broken  # type: ignore[method-assign]
    with pytest.raises(NullBoxError, match="a fault inside"):
        running.writer.at_once(write("a", "k", 1))
    running.writer._thread.join(10)
    assert not running.writer._thread.is_alive()
    assert [str(death) for death in running.deaths] == [str(running.writer.dead)]
    assert running.writer.at_once(write("a", "k", 2)) is None
    with pytest.raises(NullBoxError, match="a fault inside"):
        running.writer.submit(write("a", "k", 3), None)

"""The harness itself: what it promises holds in the calling process and with real processes."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

from nullbox.actors.base import BaseActor
from nullbox.protocols.messages import (
    Address,
    CrashReport,
    ExitReason,
    Phase,
    Ping,
    Pong,
    Query,
    Reply,
    Start,
    Stop,
)
from nullbox.testing import Harness, in_process, processes


class Echo(BaseActor):
    """Answers queries with what was asked, and does as it is told."""

    def started(self, start: Start) -> None:
        if start.config.get("fail"):
            raise RuntimeError("will not start")
        self.ready()

    def on_query(self, query: Query, sender: Address) -> None:
        getattr(self, f"do_{query.verb}")(query, sender)

    def do_echo(self, query: Query, sender: Address) -> None:
        self.tell(sender, Reply(query.request_id, query.params))

    def do_raise(self, query: Query, sender: Address) -> None:
        raise RuntimeError("boom")

    def do_odd(self, query: Query, sender: Address) -> None:
        raise RuntimeError("a lone surrogate: \ud800")

    def do_finish(self, query: Query, sender: Address) -> None:
        self.exit(ExitReason("normal", "done"))

    def do_later(self, query: Query, sender: Address) -> None:
        cancelled = self.after(0.01, lambda: self.phase("cancelled"))
        self.after(0.02, lambda: self.tell(sender, Reply(query.request_id, "later")))
        cancelled.cancel()

    def do_thread(self, query: Query, sender: Address) -> None:
        threading.Thread(target=self.post, args=(sender, Reply(query.request_id, "thread"))).start()

    def do_watch(self, query: Query, sender: Address) -> None:
        ours, theirs = os.pipe()

        def readable() -> None:
            text = os.read(ours, 100).decode()
            self.unwatch(ours)
            self.tell(sender, Reply(query.request_id, text))

        self.watch(ours, readable)
        os.write(theirs, b"watched")

    def do_unknown(self, query: Query, sender: Address) -> None:
        self.tell(sender, Reply(query.request_id, dict(self.unknown_messages)))


class BadInit(BaseActor):
    def __init__(self) -> None:
        raise OSError("no such thing")


class Parent(BaseActor):
    """Has one child and tells the test how it fares."""

    def started(self, start: Start) -> None:
        self.child = self.spawn(Echo, "child")
        self.tell(self.child, Start("child", 1, {}, {}))

    def on_ready(self, message: Any, sender: Address) -> None:
        self.ready()

    def on_query(self, query: Query, sender: Address) -> None:
        if query.verb == "kill":
            self.kill(self.child)
        else:
            self.tell(self.child, query)

    def child_crashed(self, address: Address, report: CrashReport) -> None:
        self.phase("crashed", message_type=report.message_type, last=report.last_messages)

    def child_exited(self, address: Address, reason: ExitReason) -> None:
        assert address == self.child
        self.phase("child exited", reason=reason)


@pytest.fixture(params=["in process", "processes"])
def harness(request: pytest.FixtureRequest) -> Any:
    with (in_process if request.param == "in process" else processes)() as system:
        yield system


def test_answers_what_was_asked(harness: Harness) -> None:
    echo = harness.start(Echo)
    assert harness.ask(echo, Query(1, "echo", {"a": [1, None, b"x"]})) == Reply(1, {"a": [1, None, b"x"]})


def test_every_actor_answers_heartbeats(harness: Harness) -> None:
    assert harness.ask(harness.start(Echo), Ping(7)) == Pong(7)


def test_an_exception_ends_the_actor_and_is_reported_with_what_it_was_doing(harness: Harness) -> None:
    echo = harness.start(Echo)
    harness.tell(echo, Ping(1))
    harness.tell(echo, Query(2, "raise"))
    report = harness.expect(CrashReport, sender=echo)
    assert (report.child_id, report.incarnation, report.message_type) == ("echo", 1, "Query")
    assert report.error == "RuntimeError: boom"
    assert "do_raise" in report.traceback
    assert [line.split(": ")[1].split(" from ")[0] for line in report.last_messages] == ["Start", "Ping", "Query"]
    assert harness.ended(echo) == ExitReason("crash", "RuntimeError: boom")


def test_a_crash_is_reported_whatever_its_text_is(harness: Harness) -> None:
    echo = harness.start(Echo)
    harness.tell(echo, Query(2, "odd"))
    assert harness.ended(echo) == ExitReason("crash", r"RuntimeError: a lone surrogate: \ud800")


def test_an_exception_at_the_start_is_a_crash(harness: Harness) -> None:
    echo = harness.start(Echo, {"fail": True}, wait=False)
    assert harness.ended(echo) == ExitReason("crash", "RuntimeError: will not start")


def test_an_exception_in_the_constructor_is_a_crash(harness: Harness) -> None:
    actor = harness.spawn(BadInit, "bad")
    assert harness.ended(actor).kind == "crash"


def test_an_actor_ends_with_the_reason_it_gives(harness: Harness) -> None:
    echo = harness.start(Echo)
    harness.tell(echo, Query(1, "finish"))
    assert harness.ended(echo) == ExitReason("normal", "done")


def test_stop_ends_an_actor_as_a_shutdown(harness: Harness) -> None:
    echo = harness.start(Echo)
    harness.tell(echo, Stop("enough"))
    assert harness.ended(echo) == ExitReason("shutdown", "enough")


def test_a_killed_actor_has_the_signal_as_its_reason(harness: Harness) -> None:
    echo = harness.start(Echo)
    harness.kill(echo)
    assert harness.ended(echo) == ExitReason("signal", "killed by SIGKILL", 9)


def test_timers_run_and_cancelled_ones_do_not(harness: Harness) -> None:
    assert harness.ask(harness.start(Echo), Query(1, "later")) == Reply(1, "later")
    with pytest.raises(AssertionError, match="no Phase"):
        harness.expect(Phase, timeout=0.05)


def test_other_threads_can_send(harness: Harness) -> None:
    assert harness.ask(harness.start(Echo), Query(1, "thread")) == Reply(1, "thread")


def test_actors_watch_their_own_descriptors(harness: Harness) -> None:
    assert harness.ask(harness.start(Echo), Query(1, "watch")) == Reply(1, "watched")


def test_what_an_actor_does_not_understand_is_counted_and_harmless(harness: Harness) -> None:
    echo = harness.start(Echo)
    for seq in range(3):
        harness.tell(echo, Pong(seq))
    assert harness.ask(echo, Query(1, "unknown")) == Reply(1, {"Pong": 3})


def test_a_parent_learns_of_its_childs_end_once_and_after_its_last_words(harness: Harness) -> None:
    parent = harness.start(Parent)
    harness.tell(parent, Query(1, "raise"))
    crashed = harness.expect(Phase, sender=parent)
    assert crashed.phase == "crashed"
    assert crashed.detail["message_type"] == "Query"
    exited = harness.expect(Phase, sender=parent)
    assert exited.detail["reason"] == ExitReason("crash", "RuntimeError: boom")
    with pytest.raises(AssertionError, match="no Phase"):
        harness.expect(Phase, sender=parent, timeout=0.1)


def test_a_parent_can_kill_its_child(harness: Harness) -> None:
    parent = harness.start(Parent)
    harness.tell(parent, Query(1, "kill"))
    assert harness.expect(Phase, sender=parent).detail["reason"] == ExitReason("signal", "killed by SIGKILL", 9)


def test_a_message_to_nobody_is_not_accepted(harness: Harness) -> None:
    echo = harness.start(Echo)
    harness.stop(echo)
    assert not harness.tell(echo, Ping(1))


@pytest.mark.timeout(20)
def test_threads_of_others_do_not_make_time_real() -> None:
    """One that an earlier test had left behind made an hour of a later one an hour."""
    over = threading.Event()
    stranger = threading.Thread(target=over.wait, daemon=True)
    stranger.start()
    with in_process() as system:
        system.advance(3600)
    over.set()
    stranger.join()


def test_time_is_virtual_in_process() -> None:
    class Slow(BaseActor):
        def on_query(self, query: Query, sender: Address) -> None:
            self.after(3600, lambda: self.tell(sender, Reply(query.request_id)))

    with in_process() as system:
        slow = system.start(Slow)
        system.tell(slow, Query(1, "x"))
        system.advance(3599)
        with pytest.raises(AssertionError):
            system.expect(Reply, timeout=0.5)
        system.expect(Reply, timeout=0.6)

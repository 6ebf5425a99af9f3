"""Every correction to Thespian, beside what the stock code does without it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import textwrap
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from thespian import actors
from thespian.actors import ActorAddress
from thespian.system import multiprocCommon, systemBase, systemCommon, transport, utilis
from thespian.system.actorManager import ActorManager
from thespian.system.transport import TransmitIntent

from nullbox.actors import thespian_fixes
from nullbox.actors.actor_process import Manager
from nullbox.actors.base import BaseActor
from nullbox.protocols.messages import Address, ExitReason, Phase, Ping, Query, Reply, Start
from nullbox.testing import Processes

# --- pinned to one version ------------------------------------------------------------------------------------------


def test_this_version_is_the_one_they_were_made_for() -> None:
    thespian_fixes.require_supported_version()


@pytest.mark.parametrize("found", ["4.0.0", "4.0.2", "3.10.7"])
def test_another_version_is_refused_with_what_would_be_right(found: str) -> None:
    with pytest.raises(RuntimeError, match=rf"Thespian {found} is installed.*Install thespian==4\.0\.1"):
        thespian_fixes.require_supported_version(found)


# --- exit status, once ----------------------------------------------------------------------------------------------


def test_the_notice_of_a_childs_end_has_its_status() -> None:
    address = ActorAddress(Address("actor.1.1"))
    assert not hasattr(actors.ChildActorExited(address), "status")
    notice = thespian_fixes.ChildActorExited(address, 9)
    assert (notice.status, notice.childAddress) == (9, address)
    assert type(notice).__name__ == "ChildActorExited"  # the administrator looks its handler up by this


class StockParent(BaseActor):
    """Makes a plain Thespian actor through Thespian's own interface and tells what it hears of it."""

    def started(self, start: Start) -> None:
        self.plain = self.createActor(StockActor)
        self.send(self.plain, Query(1, "hello"))
        self.notices: list[int] = []

    def on_reply(self, message: Reply, sender: Address) -> None:
        self.phase("hello", child=sender)
        self.ready()

    def on_query(self, query: Query, sender: Address) -> None:
        if query.verb == "notices":
            self.tell(sender, Reply(query.request_id, self.notices))
        else:
            self.send(self.plain, actors.ActorExitRequest())

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, actors.ChildActorExited):
            self.notices.append(message.status)  # type: ignore[attr-defined]
            self.phase("ended", status=self.notices[-1])


class StockActor(actors.Actor):  # type: ignore[misc]
    """Knows nothing of NullBox but its messages."""

    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, Query):
            self.wakeupAfter(timedelta(milliseconds=5), payload=(sender, message.request_id))
        elif isinstance(message, actors.WakeupMessage):
            asker, request_id = message.payload
            self.send(asker, Reply(request_id, "hello"))


def test_an_orderly_end_is_noticed_once_and_stock_tells_it_twice(system: Processes) -> None:
    """Stock: the child says goodbye and SIGCHLD says it again. Here only the kernel speaks."""
    assert ActorManager._sayGoodbye is not Manager._sayGoodbye
    parent = system.start(StockParent)
    assert system.expect(Phase, sender=parent).phase == "hello"
    system.tell(parent, Query(1, "end it"))
    assert system.expect(Phase, sender=parent).detail == {"status": 0}
    system.ask(parent, Ping(1))
    assert system.ask(parent, Query(2, "notices")).value == [0]


# --- the logger -----------------------------------------------------------------------------------------------------


class _StockAdmin(multiprocCommon.MultiProcReplicator):  # type: ignore[misc]
    """As much of the stock administrator as its reaction to a logger's death needs."""

    def __init__(self) -> None:
        self.asLogProc = type("Info", (), {"childProc": None})()
        self.transport = object()
        self.capabilities: dict[str, Any] = {}
        self.logdefs = None  # so AdminCore calls it

    @staticmethod
    def _checkChildLiveness(childInfo: Any) -> bool:
        return False


def test_stock_dies_of_its_loggers_death() -> None:
    with pytest.raises(AttributeError, match="logDefs"):
        _StockAdmin().childDied()
    # The corrected administrator: tests/actors/test_faults.py, test_of_the_logger.
    assert thespian_fixes.Replicator.childDied(object()) is True  # type: ignore[arg-type]


# --- no rate limit, no text of every message ------------------------------------------------------------------------


class _Governor:
    def eventRatePause(self, _now: Any) -> None:
        raise AssertionError("asked to pause")


class _Transport:
    def __init__(self) -> None:
        self.sent: list[Any] = []

    def scheduleTransmit(self, _manager: Any, intent: Any) -> None:
        self.sent.append(intent.message)


class _Sender(systemCommon.systemCommonBase):  # type: ignore[misc]
    """What sends, stock, without the rest of an actor."""

    def __init__(self) -> None:
        self.transport = _Transport()
        self._governer = _Governor()
        self._addrManager = None
        self._sCBStats = utilis.StatsManager()


class _Corrected(thespian_fixes.Replicator, _Sender):  # type: ignore[misc]
    pass


class _Loud:
    """A message that tells when text is made of it."""

    def __str__(self) -> str:
        raise AssertionError("text was made of a message")


def test_stock_asks_the_governor_at_every_send_and_ours_does_not() -> None:
    intent = TransmitIntent(ActorAddress(Address("actor.1.1")), "message")
    with pytest.raises(AssertionError, match="asked to pause"):
        _Sender()._send_intent(intent)
    ours = _Corrected()
    ours._send_intent(intent)
    assert ours.transport.sent == ["message"]


def test_stock_makes_text_of_every_message_and_ours_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    intent = TransmitIntent(ActorAddress(Address("actor.1.1")), _Loud())
    seen: list[Any] = []
    monkeypatch.setattr(TransmitIntent, "identify", lambda self: seen.append(self) or "")
    stock = _Sender()
    stock._send_intent_to_transport(intent)
    assert len(seen) == 1
    ours = _Corrected()
    ours._send_intent_to_transport(intent)
    assert (len(seen), len(ours.transport.sent)) == (1, 1)


# --- the 50 s wait --------------------------------------------------------------------------------------------------


class WatchingActor(actors.Actor):  # type: ignore[misc]
    """Watches a pipe as Thespian has it: by what its handler returns."""

    def receiveMessage(self, message: Any, sender: Any) -> Any:
        if isinstance(message, Query):
            self.asker, self.pipe, self.seen = sender, os.pipe(), b""
            os.write(self.pipe[1], b"ab")
        elif isinstance(message, actors.WatchMessage):
            assert message.ready == [self.pipe[0]]
            self.seen += os.read(self.pipe[0], 1)
            if self.seen == b"ab":
                self.send(self.asker, Reply(1, self.seen))
                return None
        return actors.ThespianWatch([self.pipe[0]])


def test_thespians_watch_works_on_every_actor(system: Processes) -> None:
    thespian_system = system.system._actor_system
    plain = thespian_system.createActor(WatchingActor)
    assert thespian_system.ask(plain, Query(1, "watch"), 5) == Reply(1, b"ab")
    thespian_system.tell(plain, actors.ActorExitRequest())


class EndsAtOnce(actors.Actor):  # type: ignore[misc]
    def __init__(self) -> None:
        os._exit(7)


def test_stock_waits_50_seconds_for_an_actor_that_never_comes_and_ours_is_told(system: Processes) -> None:
    assert timedelta(seconds=50) == systemBase.MAX_CHILD_ACTOR_CREATE_DELAY
    thespian_system = system.system._actor_system
    began = time.monotonic()
    with pytest.raises(actors.ActorSystemFailure, match="ended with status 7"):
        thespian_system.createActor(EndsAtOnce)
    assert time.monotonic() - began < 5


def test_thespians_own_interface_works_on_this_base(system: Processes) -> None:
    thespian_system = system.system._actor_system
    plain = thespian_system.createActor(StockActor)
    assert thespian_system.ask(plain, Query(5, "hello"), 5) == Reply(5, "hello")
    thespian_system.tell(plain, actors.ActorExitRequest())


# --- Thespian's own log file ----------------------------------------------------------------------------------------


def test_stock_writes_a_log_file_into_the_temporary_directory_and_ours_does_not(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from thespian.system import utilis
        if sys.argv[1] == "ours":
            from nullbox.actors import thespian_fixes
            thespian_fixes.quiet()
        utilis.thesplog("something %s", "happened", level=40)
    """)
    for kind, files in (("stock", ["thespian.log"]), ("ours", [])):
        directory = tmp_path / kind
        directory.mkdir()
        environment = {**os.environ, "TMPDIR": str(directory), "PYTHONPATH": os.pathsep.join(sys.path)}
        environment.pop("THESPLOG_FILE_MAXSIZE", None)
        subprocess.run([sys.executable, "-c", script, kind], check=True, env=environment, timeout=60)
        assert [path.name for path in directory.iterdir()] == files


# --- signals, and handlers that run once ----------------------------------------------------------------------------


def test_stock_handles_signals_that_must_kill() -> None:
    """It sets a handler for every signal it can; a handler that returns from SIGSEGV faults again, for ever."""
    assert "SIGSEGV" not in {each.name for each in multiprocCommon.uncatchable_signals}
    # Ours is killed by it: tests/actors/test_faults.py, test_of_a_child[SIGSEGV] and the like.


class Counting(BaseActor):
    """Leaves a trace of every run of its handler, then fails."""

    def on_query(self, query: Query, sender: Address) -> None:
        with open(query.params["trace"], "a") as trace:
            trace.write("ran\n")
        raise RuntimeError("as told")


class _StockActor:
    def __init__(self) -> None:
        self.runs = 0

    def receiveMessage(self, _message: Any, _sender: Any) -> None:
        self.runs += 1
        raise RuntimeError("as told")


class _StockManager(ActorManager):  # type: ignore[misc]
    """As much of the stock manager as the handling of one message needs."""

    def __init__(self, actor: Any) -> None:
        self.actorInst = actor
        self._actorClass = type(actor)
        self._sCBStats = utilis.StatsManager()
        self.transport = type("T", (), {"myAddress": "here"})()
        self.sent: list[Any] = []

    def _handleReplicatorMessages(self, _envelope: Any) -> tuple[bool, bool]:
        return False, True

    def _send_intent(self, intent: Any, curtime: Any = None) -> None:
        self.sent.append(intent.message)


def test_a_handler_that_fails_runs_once_and_stock_runs_it_twice(system: Processes, tmp_path: Path) -> None:
    logging.getLogger(str(_StockActor)).setLevel(logging.CRITICAL + 1)
    manager = _StockManager(_StockActor())
    manager._handleOneMessage(transport.ReceiveEnvelope(ActorAddress("x"), "message"))
    assert manager.actorInst.runs == 2
    assert [type(message).__name__ for message in manager.sent] == ["PoisonMessage"]

    counting = system.start(Counting)
    system.tell(counting, Query(1, "x", {"trace": str(tmp_path / "trace")}))
    assert system.ended(counting) == ExitReason("crash", "RuntimeError: as told")
    assert (tmp_path / "trace").read_text() == "ran\n"


def test_more_messages_a_second_than_stock_allows(system: Processes) -> None:
    """6,000 sends without a pause: stock sleeps 0.1 s at each one above 4,480 a second."""
    counting = system.start(BaseActor)
    began = time.monotonic()
    accepted = sum(bool(system.tell(counting, Ping(number))) for number in range(6000))
    assert accepted == 6000
    assert time.monotonic() - began < 5

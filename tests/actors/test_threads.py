"""A thread of an actor's process that dies of an exception is the actor's crash: at once, and with the reason."""

from __future__ import annotations

import contextlib
import json
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

from nullbox.actors.base import BaseActor
from nullbox.actors.ctxgraph import CtxgraphActor
from nullbox.actors.gateway import GatewayActor
from nullbox.actors.threads import PATIENCE
from nullbox.egress.dns import server
from nullbox.gateway import service as gateway_service
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import Address, CrashReport, ExitReason, Ping, Query, Start
from nullbox.testing import Processes

BOUND = 1.0
"""Seconds; a heartbeat would find out after 15."""


def fail(*_: object) -> NoReturn:
    raise RuntimeError("as the test asked")


class Threaded(BaseActor):
    """Has a thread die; `and wait` has its own thread wait for that one's work, for ever."""

    def on_query(self, query: Query, sender: Address) -> None:
        threading.Thread(target=fail, name="worker", daemon=True).start()
        if query.verb == "and wait":
            threading.Event().wait()


class BrokenStore(CtxgraphActor):
    def started(self, start: Start) -> None:
        super().started(start)
        self._service._server.store.apply = fail  # type: ignore[method-assign]


class BrokenCollector(GatewayActor):
    def started(self, start: Start) -> None:
        async def collect(*_: object) -> None:
            await began.wait()
            fail()

        import asyncio

        began = asyncio.Event()
        self._began = began
        gateway_service.collect_denials = collect  # type: ignore[assignment]  # of this process alone
        super().started(start)

    def on_query(self, query: Query, sender: Address) -> None:
        self._service.loop.call_soon_threadsafe(self._began.set)


@pytest.fixture
def layout() -> Iterator[Layout]:
    with tempfile.TemporaryDirectory(prefix="nb-t-") as name:  # short: it holds socket paths
        (Path(name) / "r").mkdir()
        yield Layout(Path(name) / "r", Path(name) / "s", Path(name) / "y")


def test_the_reason_is_the_thread_s(system: Processes) -> None:
    actor = system.start(Threaded)
    began = time.monotonic()
    system.tell(actor, Query(1, "die"))
    report = system.expect(CrashReport, sender=actor, timeout=BOUND)
    assert (report.message_type, report.error) == ("thread worker", "RuntimeError: as the test asked")
    assert "in fail" in report.traceback and any("Query" in line for line in report.last_messages)
    system.ended(actor, BOUND)
    assert time.monotonic() - began < BOUND


def test_an_actor_that_waits_for_the_dead_thread_ends_too(system: Processes) -> None:
    actor = system.start(Threaded)
    system.tell(actor, Query(1, "and wait"))
    assert system.ended(actor, PATIENCE + BOUND) == ExitReason("exit", "ended with status 70, without a word", 70)


def test_the_store_s_writer(system: Processes, layout: Layout) -> None:
    actor = system.start(BrokenStore, {"layout": layout.to_plain()}, timeout=10.0)
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(BOUND)
        client.connect(str(layout.ctx_host_socket))
        began = time.monotonic()
        request: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "write", "params": {"key": "k", "value": 1}}
        client.sendall(json.dumps(request).encode() + b"\n")
        reason = system.ended(actor, BOUND)
        assert time.monotonic() - began < BOUND
        assert reason == ExitReason("crash", "RuntimeError: as the test asked")
        with contextlib.suppress(ConnectionError):
            assert b'"result"' not in client.recv(4096), "nothing was written, so nothing is acknowledged"


def test_a_heartbeat_does_not_wait_for_a_dead_writer(system: Processes, layout: Layout) -> None:
    """What it asks of the writer is refused at once, whichever comes first."""
    actor = system.start(BrokenStore, {"layout": layout.to_plain()}, timeout=10.0)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(layout.ctx_host_socket))
        client.sendall(b'{"jsonrpc": "2.0", "id": 1, "method": "write", "params": {"key": "k", "value": 1}}\n')
        system.tell(actor, Ping(1))
        reason = system.ended(actor, BOUND)
        assert "as the test asked" in reason.detail, reason


def test_a_task_of_the_gateway_that_should_run_for_ever(system: Processes, layout: Layout) -> None:
    actor = system.start(BrokenCollector, {"layout": layout.to_plain()}, timeout=10.0)
    system.tell(actor, Query(1, "fail now"))
    assert system.ended(actor, BOUND) == ExitReason("crash", "RuntimeError: as the test asked")


def test_a_resolvers_thread_that_hangs_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SICK_AFTER_S", 0.2)
    thread = server.ResolverThread()
    hanging, end = threading.Event(), threading.Event()

    def hang() -> None:
        hanging.set()
        end.wait()

    try:
        assert thread.healthy()
        thread._loop.call_soon_threadsafe(hang)
        assert hanging.wait(5)
        until = time.monotonic() + 5
        while thread.healthy():
            assert time.monotonic() < until
            threading.Event().wait(0.01)
        end.set()
        while not thread.healthy():
            assert time.monotonic() < until
    finally:
        end.set()
        thread.stop()
    assert not thread.healthy()

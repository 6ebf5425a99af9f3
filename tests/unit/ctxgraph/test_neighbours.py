"""One client's flood, stall, nonsense or slow disk costs that client only."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest
from ctx_clients import Client

from nullbox.ctxgraph.batch import Write
from nullbox.ctxgraph.company import QUIET_S
from nullbox.ctxgraph.quota import Limits
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.guest.nullbox_agent import Ctx, CtxError
from nullbox.protocols.layout import Layout


def test_the_rate_of_one_agent_is_held_and_others_write_on(layout: Layout) -> None:
    service = CtxgraphService()
    service.start(layout, limits=lambda agent: Limits(rate=5.0, burst=3) if agent == "busy" else None)
    busy = Ctx(str(service.open_channel("busy", [""], [""])))
    calm = Ctx(str(service.open_channel("calm", [""], [""])))
    errors = []
    for n in range(6):
        try:
            busy.write("k", n)
        except CtxError as error:
            errors.append(error)
    assert errors and errors[0].code == "denied"
    assert "writes faster than 5 a second" in str(errors[0])
    for n in range(10):
        calm.write("c", n)
    busy.close()
    calm.close()
    service.stop()


def test_nonsense_and_stalls_cost_only_their_own_client(service: CtxgraphService, agent: Client) -> None:
    good = agent("good")
    path = service.open_channel("bad", [""], [""])
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            raw = stack.enter_context(socket.socket(socket.AF_UNIX))
            raw.settimeout(10)
            raw.connect(str(path))
            return raw

        half = connect()
        half.sendall(b'{"jsonrpc":"2.0","id":1,"meth')
        loud = connect()
        with contextlib.suppress(OSError):
            loud.sendall(b"\xff{{{nonsense\n" * 2000)
        endless = connect()
        with contextlib.suppress(OSError):
            endless.sendall(b"x" * (3 << 20))
        deaf = connect()
        for n in range(60):
            deaf.sendall(json.dumps({"jsonrpc": "2.0", "id": n, "method": "query"}).encode() + b"\n")
        started = time.monotonic()
        for n in range(50):
            good.write("k", n)
        assert time.monotonic() - started < 20
        assert len(good.query("k", limit=50)) == 50


def test_an_agent_that_takes_all_its_connections_takes_nobody_elses(
    service: CtxgraphService, agent: Client, host: Ctx
) -> None:
    path = service.open_channel("greedy", [""], [""])
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(40):
            raw = stack.enter_context(socket.socket(socket.AF_UNIX))
            raw.settimeout(10)
            raw.connect(str(path))
            with contextlib.suppress(ConnectionError):
                raw.sendall(b'{"jsonrpc":"2.0","id":1,"method":"query"}\n')
                answers.append(b"result" in raw.recv(1 << 16))
        assert 0 < sum(answers) <= 16
        agent("modest").write("k", 1)
        assert host.query("k")


def test_an_agents_slow_queries_wait_for_each_other_only(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve searches that each take half a second, all of one agent, beside another agent's queries."""
    release = threading.Event()
    real = Reader.search

    def slow(self: Reader, *arguments: Any) -> Any:
        release.wait(20)
        return real(self, *arguments)

    monkeypatch.setattr(Reader, "search", slow)
    good = agent("good")
    good.write("k", 1)
    path = service.open_channel("slow", [""], [""])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(30)
        raw.connect(str(path))
        for n in range(12):
            request = {"jsonrpc": "2.0", "id": n, "method": "search", "params": {"text": "x"}}
            raw.sendall(json.dumps(request).encode() + b"\n")
        for _ in range(20):
            assert good.query("k")
        assert service.health()["size"] == 1
        release.set()
        lines = raw.makefile("rb")
        assert all(b"result" in lines.readline() for _ in range(12))


def test_writes_of_one_agent_that_wait_for_the_disk_are_bounded(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nullbox.ctxgraph.server.WRITES_PER_AGENT", 5)
    gate = threading.Event()
    real = service._server.store.apply

    def held(ops: Any) -> Any:
        gate.wait(20)
        return real(ops)

    monkeypatch.setattr(service._server.store, "apply", held)
    path = service.open_channel("flood", [""], [""])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(30)
        raw.connect(str(path))
        lines = raw.makefile("rb")
        for n in range(9):
            request = {"jsonrpc": "2.0", "id": n, "method": "write", "params": {"key": "k", "value": n}}
            raw.sendall(json.dumps(request).encode() + b"\n")
        refused = [json.loads(lines.readline()) for _ in range(4)]
        assert {answer["error"]["data"]["code"] for answer in refused} == {"unavailable"}
        gate.set()
        assert all(b"result" in lines.readline() for _ in range(5))
    agent("calm").write("k", 1)


def test_who_is_alone_is_answered_by_the_loop_and_company_by_groups(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that commits: the connections' own for a lone client on a quick disk, the writer's as soon as another
    one calls, as requests come together, and when the disk turns slow."""
    names: list[str] = []
    store = service._server.store
    real = store.apply

    def apply(ops: Any) -> Any:
        if any(isinstance(op, Write) for op in ops):
            names.append(threading.current_thread().name)
        return real(ops)

    monkeypatch.setattr(store, "apply", apply)
    pace = service._server.writer._pace
    monkeypatch.setattr(type(pace), "quick", True)
    now = [0.0]
    monkeypatch.setattr(service._server, "_monotonic", lambda: now[0])
    lone, other = agent("lone"), agent("other")

    def committed_by(write: Callable[[], Any]) -> str:
        names.clear()
        write()
        return names[0]

    assert committed_by(lambda: lone.write("k", 0)) == "ctxgraph-writer", "who comes first may not be the only one"
    now[0] += 2 * QUIET_S
    assert committed_by(lambda: lone.write("k", 1)) == "ctxgraph"
    assert lone.latest("k")["value"] == 1
    assert committed_by(lambda: other.write("k", 1)) == "ctxgraph-writer"
    assert committed_by(lambda: lone.write("k", 2)) == "ctxgraph-writer", "the other one may be back at once"
    now[0] += 2 * QUIET_S
    assert committed_by(lambda: lone.write("k", 3)) == "ctxgraph"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(lone._path))
        names.clear()
        lines = [
            json.dumps({"jsonrpc": "2.0", "id": n, "method": "write", "params": {"key": "k", "value": n}}).encode()
            for n in range(20)
        ]
        raw.sendall(b"\n".join(lines) + b"\n")
        incoming = raw.makefile("rb")
        assert all(b"result" in incoming.readline() for _ in lines)
    assert set(names) == {"ctxgraph-writer"}
    assert len(names) < len(lines)
    now[0] += 2 * QUIET_S
    monkeypatch.setattr(type(pace), "quick", False)
    assert committed_by(lambda: lone.write("k", 4)) == "ctxgraph-writer"

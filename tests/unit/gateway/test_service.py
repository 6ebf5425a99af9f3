"""The gateway as its clients meet it: a real socket, a real thread, a tree in memory behind it."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
import time
import tty
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from nullbox.gateway import collector
from nullbox.gateway.handlers import HANDLERS
from nullbox.gateway.memory import MemoryBackend, node
from nullbox.gateway.methods import METHODS
from nullbox.gateway.service import GatewayService
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.rpc.call import Call
from nullbox.rpc.client import Client
from nullbox.rpc.server import LineServer


@pytest.fixture
def layout() -> Iterator[Layout]:
    # Not tmp_path: a Unix socket's path must stay short.
    with tempfile.TemporaryDirectory(prefix="nb") as folder:
        yield Layout(Path(folder) / "run", Path(folder) / "var", Path(folder) / "system")


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> MemoryBackend:
    """Looked at often: nobody else waits for this machine."""
    monkeypatch.setattr(collector, "PERIOD", 0.05)
    return MemoryBackend()


@pytest.fixture
def client(layout: Layout, backend: MemoryBackend) -> Iterator[Client]:
    service = GatewayService(backend, layout, {"operators": {"uids": [os.getuid()]}})
    service.start()
    try:
        with Client(layout.gateway_socket) as client:
            yield client
    finally:
        service.stop()


def refusal(client: Client, method: str, **params: Any) -> NullBoxError:
    with pytest.raises(NullBoxError) as caught:
        client.call(method, params)
    return caught.value


def test_the_table_and_the_functions_agree() -> None:
    ctx = {name for name in METHODS if name.startswith("ctx.")}
    assert set(HANDLERS) | ctx == set(METHODS)
    assert not set(HANDLERS) & ctx


def test_it_starts_answers_and_stops(layout: Layout, backend: MemoryBackend) -> None:
    service = GatewayService(backend, layout, {"operators": {"uids": [0, os.getuid()]}})
    assert not service.healthy()
    service.start()
    assert service.healthy()
    assert stat.S_IMODE(layout.gateway_socket.stat().st_mode) == (0o600 if os.getuid() == 0 else 0o666)
    with pytest.raises(NullBoxError) as caught:
        GatewayService(backend, layout).start()
    assert caught.value.code is ErrorCode.CONFLICT
    with Client(layout.gateway_socket) as client:
        assert client.call("version")["protocol"] == 1
        service.stop()
        with pytest.raises(NullBoxError, match=r"shutting down|hung up|nothing at") as caught:
            client.call("version")
    assert not service.healthy()
    assert not layout.gateway_socket.exists()
    service.stop()


def test_status(client: Client, backend: MemoryBackend) -> None:
    status = client.call("status")
    assert status["healthy"] is True
    assert [each["name"] for each in status["services"]] == ["egress", "ctxgraph", "gateway"]
    assert [each["state"] for each in status["agents"]] == ["running", "running"]
    assert status["isolation"] == "each agent in its own microVM"
    backend.set("ctxgraph", state="backoff", pid=None)
    assert client.call("status")["healthy"] is False


def test_status_shows_how_agents_get_outside_and_every_exception(layout: Layout, backend: MemoryBackend) -> None:
    operators = {"uids": [os.getuid()]}
    table = {"uplinks": ["eth0"], "exceptions": ["10.1.0.0/16"]}
    service = GatewayService(backend, layout, {"operators": operators, "egress": table})
    service.start()
    try:
        with Client(layout.gateway_socket) as client:
            shown = client.call("status")["egress"]
    finally:
        service.stop()
    assert shown == {"uplinks": ["eth0"], "upstreams": [], "exceptions": ["10.1.0.0/16"], "learn": False}


def test_status_answers_soon_from_what_it_knows_when_the_root_does_not(client: Client, backend: MemoryBackend) -> None:
    client.call("status")
    backend.silent.add("nulld")
    before = time.monotonic()
    status = client.call("status")
    assert time.monotonic() - before < 1.0
    assert status["age_s"] > 0
    assert len(status["agents"]) == 2


def test_commands_change_what_the_list_shows(client: Client, backend: MemoryBackend) -> None:
    def state() -> str:
        return str(client.call("agent.inspect", {"name": "pulse"})["state"])

    assert client.call("agent.pause", {"name": "pulse"}) == {"name": "pulse", "state": "paused", "confirmed_ms": 8.0}
    assert state() == "paused"
    assert client.call("agent.resume", {"name": "pulse"}) == {"name": "pulse", "state": "running", "confirmed_ms": 8.0}
    assert client.call("agent.stop", {"name": "pulse"}) == {"name": "pulse", "state": "stopped"}
    assert client.call("agent.inspect", {"name": "pulse"})["vm"] is None
    assert client.call("agent.start", {"name": "pulse"}) == {"name": "pulse", "state": "running"}
    assert client.call("agent.restart", {"name": "pulse"})["state"] == "running"
    assert client.call("agent.inspect", {"name": "pulse"})["vm"]["kernel"] == "6.18.0"
    assert backend.nodes[4]["incarnation"] == 3


def test_errors_have_the_contracts_codes(client: Client, backend: MemoryBackend) -> None:
    error = refusal(client, "agent.stop", name="puls")
    assert error.code is ErrorCode.NOT_FOUND
    assert "did you mean 'pulse'" in error.message
    error = refusal(client, "agent.resume", name="pulse")
    assert (error.code, error.data) == (ErrorCode.WRONG_STATE, {"state": "running"})
    assert refusal(client, "agent.start", name="pulse").code is ErrorCode.WRONG_STATE
    assert refusal(client, "agent.stop", nmae="pulse").code is ErrorCode.INVALID
    error = refusal(client, "agent.rusume", name="pulse")
    assert error.code is ErrorCode.NOT_FOUND
    assert "agent.resume" in error.message
    assert refusal(client, "agent.logs", name="nobody").code is ErrorCode.NOT_FOUND
    assert refusal(client, "ctx.query", prefix="a").code is ErrorCode.UNAVAILABLE


def test_a_cage_that_does_not_answer_does_not_hide_the_agent(
    client: Client, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nullbox.gateway.serve_agent.INSPECT_PATIENCE", 0.1)
    backend.silent.add("cage:pulse")
    shown = client.call("agent.inspect", {"name": "pulse"})
    assert (shown["state"], shown["vm"], shown["vm_error"]) == ("running", None, "the cage does not answer")


def test_wait_ends_with_the_state_or_with_timeout(client: Client, backend: MemoryBackend) -> None:
    backend.set("cage:pulse", state="starting")
    error = refusal(client, "agent.wait", name="pulse", timeout=0.3)
    assert (error.code, error.data) == (ErrorCode.TIMEOUT, {"state": "starting"})
    backend.set("cage:pulse", state="running")
    assert client.call("agent.wait", {"name": "pulse"})["state"] == "running"


def test_logs_and_their_stream(client: Client, layout: Layout) -> None:
    path = layout.agent_log("pulse")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("2026-11-24T17:00:00.000Z one\n2026-11-24T17:00:01.000Z two\n")
    answer = client.call("agent.logs", {"name": "pulse", "tail": 1})
    assert answer == {"name": "pulse", "lines": [{"ts": 1795539601.0, "text": "two"}]}
    whole = client.stream("agent.logs", {"name": "pulse", "whole": True})
    assert [line["text"] for line in whole] == ["one", "two"]
    with client.stream("agent.logs", {"name": "pulse", "follow": True}) as lines:
        assert [lines.next(5)["text"], lines.next(5)["text"]] == ["one", "two"]
        with path.open("a") as file:
            file.write("2026-11-24T17:00:02.000Z three\n")
        assert lines.next(5)["text"] == "three"
    assert client.call("agent.logs", {"name": "reader"})["lines"] == []


def test_events_and_their_stream(client: Client, backend: MemoryBackend) -> None:
    backend.record("started", "cage:pulse")
    backend.record("exit", "cage:pulse", code=3)
    with client.stream("events", {"follow": True}) as events:
        assert [events.next(5)["kind"] for _ in range(3)] == ["boot", "started", "exit"]
        backend.record("restart", "cage:pulse")
        assert events.next(5)["kind"] == "restart"
    backend.record("exit", "cage:reader")
    assert client.call("events")["events"][-1]["child"] == "cage:reader"  # what happened just now, too
    answer = client.call("events", {"since": 2, "limit": 1})
    assert [event["kind"] for event in answer["events"]] == ["exit"]
    assert answer["last_seq"] == 5


def test_events_outlive_the_gateway(layout: Layout, backend: MemoryBackend) -> None:
    backend.record("started", "cage:pulse")
    for kind in ("exit", "restart"):
        service = GatewayService(backend, layout, {"operators": {"uids": [os.getuid()]}})
        service.start()
        backend.record(kind, "cage:pulse")
        with Client(layout.gateway_socket) as client, client.stream("events", {"follow": True}) as events:
            seen = [events.next(5)["kind"]]
            while seen[-1] != kind:
                seen.append(events.next(5)["kind"])
        service.stop()
    assert seen == ["boot", "started", "exit", "restart"]


def test_power_and_rules_reach_their_actors(client: Client, backend: MemoryBackend) -> None:
    assert client.call("power.off") == {"power": "off"}
    client.call("egress.rules", {"agent": "pulse"})
    assert refusal(client, "egress.rules", agent="nobody").code is ErrorCode.NOT_FOUND
    assert [target for target, _ in backend.commands()] == ["nulld", "egress"]


def test_a_stranger_is_denied_and_a_reader_may_look(layout: Layout, backend: MemoryBackend) -> None:
    config = {"operators": {"uids": []}, "readers": {"uids": [os.getuid()]}}
    service = GatewayService(backend, layout, config)
    service.start()
    try:
        with Client(layout.gateway_socket) as client:
            assert client.call("status")["healthy"]
            assert refusal(client, "agent.stop", name="pulse").code is ErrorCode.DENIED
            assert refusal(client, "power.off").code is ErrorCode.DENIED
            assert refusal(client, "ctx.write", key="a", value=1).code is ErrorCode.DENIED
    finally:
        service.stop()
    assert not backend.commands()


def test_a_dead_actor_is_unavailable_and_a_slow_one_times_out(
    client: Client, backend: MemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nullbox.gateway.handlers.deadline_of", lambda name, timeout: 0.2)
    backend.silent.add("egress")
    assert refusal(client, "egress.rules").code is ErrorCode.TIMEOUT
    backend.nodes.append(node("cage:ghost", "nulld"))
    backend.silent.add("cage:ghost")
    assert refusal(client, "agent.pause", name="ghost").code is ErrorCode.TIMEOUT


def test_ctx_is_passed_on_to_ctxgraph(client: Client, layout: Layout) -> None:
    """ctxgraph's place is taken by a server that says what it was asked: the store has tests of its own."""

    async def numbers() -> AsyncIterator[int]:
        for number in range(3):
            yield number

    async def handle(call: Call) -> Any:
        if call.method == "watch":
            return call.stream(numbers())
        if call.method == "read":
            raise NullBoxError(ErrorCode.NOT_FOUND, "no such entry")
        return {"method": call.method, "params": call.params}

    async def main() -> None:
        server = LineServer(handle)
        await server.listen(layout.ctx_host_socket)
        try:
            answer = await asyncio.to_thread(client.call, "ctx.query", {"prefix": "pulse.", "limit": 5})
            assert answer == {"method": "query", "params": {"prefix": "pulse.", "limit": 5}}
            answer = await asyncio.to_thread(client.call, "ctx.write", {"key": "a", "value": None})
            assert answer["params"] == {"key": "a", "value": None}
            error = await asyncio.to_thread(refusal, client, "ctx.read", hash="0" * 64)
            assert (error.code, error.message) == (ErrorCode.NOT_FOUND, "no such entry")
            values = await asyncio.to_thread(lambda: list(client.stream("ctx.watch", {"prefix": ""})))
            assert values == [0, 1, 2]
        finally:
            await server.close()
        # ctxgraph restarts: the next call finds it again.
        error = await asyncio.to_thread(refusal, client, "ctx.agents")
        assert error.code is ErrorCode.UNAVAILABLE
        again = LineServer(handle)
        await again.listen(layout.ctx_host_socket)
        answer = await asyncio.to_thread(client.call, "ctx.agents")
        assert answer["method"] == "agents"
        await again.close()

    asyncio.run(main())


def test_the_same_gateway_answers_on_a_port(layout: Layout, backend: MemoryBackend) -> None:
    near, far = os.openpty()
    tty.setraw(far)
    tty.setraw(near)
    console = layout.run / "console"
    console.parent.mkdir(parents=True)
    console.touch()
    service = GatewayService(backend, layout, {"operators": {"uids": []}}, port=Path(os.ttyname(far)), console=console)
    service.start()
    try:
        os.write(near, b'\n{"jsonrpc":"2.0","method":"agent.stop","params":{"name":"pulse"},"id":1}\n')
        answer = b""
        while not answer.endswith(b"\n"):
            answer += os.read(near, 65536)
        assert b'"state":"stopped"' in answer
        until = time.monotonic() + 20
        while "pulse stopped" not in console.read_text() or "command cage:pulse" not in console.read_text():
            assert time.monotonic() < until, console.read_text()
            time.sleep(0.05)
    finally:
        service.stop()
        os.close(near)
        os.close(far)

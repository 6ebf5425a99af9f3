"""The service as a whole: it starts, says how it is, and dies without taking anything acknowledged along."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from typing import Any

import pytest
from ctx_clients import Client, refusal

from nullbox.ctxgraph import evidence
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.ctxgraph.store import Store
from nullbox.guest.nullbox_agent import Ctx
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout


def test_health_proves_that_all_parts_answer(service: CtxgraphService, agent: Client) -> None:
    agent("a").write("k", 1)
    report = service.health()
    assert (report["size"], report["channels"], report["behind"]) == (1, ["a"], 0)
    service._server.store.failed = NullBoxError(ErrorCode.UNAVAILABLE, "the disk failed")
    with pytest.raises(NullBoxError, match="the disk failed"):
        service.health()
    service._server.store.failed = None
    with pytest.raises(NullBoxError, match="runs already"):
        service.start(Layout())


def test_a_store_that_cannot_be_opened_leaves_nothing_running(layout: Layout) -> None:
    layout.ctx_store.parent.mkdir(parents=True)
    holder = Store(layout.ctx_store)
    service = CtxgraphService()
    with pytest.raises(NullBoxError, match="another process"):
        service.start(layout)
    holder.close()
    service.start(layout)
    service.stop()
    with pytest.raises(NullBoxError, match="does not run"):
        service.health()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_writer_dies_whoever_waits_is_told_at_once(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours, which SQLite knows nothing of: in an actor it is the actor's crash."""
    gate = threading.Event()

    def broken(ops: Any) -> Any:
        gate.wait(20)
        raise RuntimeError("a fault inside")

    monkeypatch.setattr(service._server.store, "apply", broken)
    path = service.open_channel("many", [""], [""])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(8)  # less than the deadline of a call
        raw.connect(str(path))
        lines = raw.makefile("rb")
        for n in range(5):
            request = {"jsonrpc": "2.0", "id": n, "method": "write", "params": {"key": "k", "value": n}}
            raw.sendall(json.dumps(request).encode() + b"\n")
        assert agent("other").query("k") == [], "the requests before this one have arrived"
        gate.set()
        errors = [json.loads(lines.readline())["error"] for _ in range(5)]
    assert {error["data"]["code"] for error in errors} == {"unavailable"}
    assert all("a fault inside" in error["message"] for error in errors)
    assert refusal(lambda: agent("other").write("k", 1)).code == "unavailable"
    with pytest.raises(NullBoxError, match="a fault inside"):
        service.health()


SERVE = """
import sys, threading
from pathlib import Path
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.protocols.layout import Layout
service = CtxgraphService()
service.start(Layout(run=Path(sys.argv[1]), state=Path(sys.argv[2])))
for name in sys.argv[3:]:
    service.open_channel(name, [""], [""])
print("ready", flush=True)
threading.Event().wait()
"""


def serve(layout: Layout, *names: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SERVE, str(layout.run), str(layout.state), *names]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_two_agents_exchange_1000_entries_across_a_sigkill(layout: Layout) -> None:
    """One writes, the other watches and answers; the store's process is killed twice on the way."""
    process = serve(layout, "ping", "pong")
    ping = Ctx(str(layout.ctx_socket("ping")), patience=60.0)
    acknowledged: dict[int, str] = {}
    answers: dict[int, str] = {}
    finished = threading.Event()

    def answer() -> None:
        pong = Ctx(str(layout.ctx_socket("pong")), patience=60.0)
        for entry in pong.watch("ping.", since_seq=0):
            ack = pong.write("pong.n", entry["value"])
            answers[ack["seq"]] = ack["hash"]
            if entry["value"] == 499:
                finished.set()
                return

    threading.Thread(target=answer, daemon=True).start()
    for n in range(500):
        ack = ping.write("ping.n", n)
        acknowledged[ack["seq"]] = ack["hash"]
        if n in (150, 350):
            process.kill()
            process.wait()
            process = serve(layout)  # the channels are remembered
    assert finished.wait(60)
    process.kill()
    process.wait()
    store = Store(layout.ctx_store)  # replays what the killed process left in the WAL
    store.close()
    reader = Reader(layout.ctx_store)
    assert len(acknowledged) == 500
    for seq, address in {**acknowledged, **answers}.items():
        assert evidence.prove(reader, seq)["record"]["hash"] == address
    values = {reader.read(bytes.fromhex(address)).text for address in answers.values()}
    assert values == {str(n) for n in range(500)}
    assert evidence.audit(reader)["ok"]

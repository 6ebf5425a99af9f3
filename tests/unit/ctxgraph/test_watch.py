"""Watchers: nothing skipped, nothing doubled, and told in time."""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import Any

import pytest
from ctx_clients import Client

from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.guest.nullbox_agent import Ctx
from nullbox.protocols.layout import Layout


def test_a_watcher_sees_every_event_once_across_a_restart(layout: Layout) -> None:
    """Writers, a watcher that began in the past, and a service that goes away and comes back."""
    service = CtxgraphService()
    service.start(layout)
    path = str(service.open_channel("a", [""], [""]))
    writer, other = Ctx(path, patience=30.0), Ctx(path, patience=30.0)
    for n in range(30):
        writer.write("p.early", n)
        other.write("q.noise", n)
    seen: list[dict[str, Any]] = []
    complete = threading.Event()

    def follow() -> None:
        for entry in Ctx(path, patience=30.0).watch("p.", since_seq=0):
            seen.append(entry)
            if entry["value"] == "last":
                complete.set()
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    written = 0

    def produce() -> None:
        nonlocal written
        for n in range(300):
            writer.write("p.late", n)
            written += 1
        writer.write("p.late", "last")

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    deadline = time.monotonic() + 30
    while written < 100 and time.monotonic() < deadline:
        other.write("q.noise", written)
    service.stop()
    service = CtxgraphService()
    service.start(layout)
    assert complete.wait(60), f"{len(seen)} entries seen, {written} written"
    producer.join(30)
    writer.close()
    other.close()
    service.stop()
    reader = Reader(layout.ctx_store)
    everything: list[int] = []
    after: int | None = 0
    from nullbox.ctxgraph.query import Window
    from nullbox.ctxgraph.reader import NEVER

    while after is not None:
        page = reader.query(["p."], Window(after, NEVER), 100, kinds=4)
        everything += [entry.seq for entry in page.entries]
        after = page.next
    assert [entry["seq"] for entry in seen] == everything


def test_a_watcher_is_told_within_20_ms_of_the_acknowledgement(agent: Client) -> None:
    ctx, other = agent("a"), agent("b")
    arrived: list[float] = []
    news = threading.Semaphore(0)

    def follow() -> None:
        for _ in other.watch("", since_seq=0):
            arrived.append(time.monotonic())
            news.release()

    threading.Thread(target=follow, daemon=True).start()
    delays = []
    for n in range(50):
        ctx.write("k", n)
        acknowledged = time.monotonic()
        assert news.acquire(timeout=10)
        delays.append(arrived[-1] - acknowledged)
    assert sorted(delays)[25] < 0.020, delays


def test_a_watcher_too_slow_is_told_where_to_go_on(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nullbox.ctxgraph.watch.MAX_LAG", 50)
    ctx = agent("a")
    path = service.open_channel("b", [""], [""])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(20)
        raw.connect(str(path))
        raw.sendall(b'{"jsonrpc":"2.0","id":1,"method":"watch","params":{"since_seq":0}}\n')
        lines = raw.makefile("rb")
        assert b"subscription" in lines.readline()
        count = 0
        while count < 40:  # takes nothing meanwhile: the socket's buffers fill, then the stream waits
            ctx.write("k", {"n": count, "fill": "x" * 60_000})
            count += 1
        for _ in range(100):
            ctx.write("k", count)
            count += 1
        seen, end = [], None
        while end is None:
            message = json.loads(lines.readline())["params"]
            if message.get("end"):
                end = message["error"]
            else:
                seen.append(message["value"]["seq"])
    assert end["data"]["code"] == "unavailable"
    assert end["data"]["resume"] == seen[-1]
    assert seen == list(range(1, len(seen) + 1))
    rest = agent("b").watch("", since_seq=end["data"]["resume"])
    assert [next(rest)["seq"] for _ in range(count - len(seen))] == list(range(len(seen) + 1, count + 1))

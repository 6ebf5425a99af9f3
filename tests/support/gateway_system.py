"""A gateway on a real socket over a tree in memory, with a ctxgraph stand-in that holds three fixed entries."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from nullbox.ctxgraph.merkle import Frontier, consistency_proof, inclusion_proof, leaf_data, leaf_hash
from nullbox.gateway import collector
from nullbox.gateway import service as gateway
from nullbox.gateway.memory import MemoryBackend
from nullbox.gateway.service import GatewayService
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.rpc.call import Call
from nullbox.rpc.server import LineServer

ENTRIES: list[dict[str, Any]] = [
    {
        "hash": f"{seq:064x}",
        "agent_id": "pulse",
        "key": "pulse.count",
        "value": {"n": seq, "text": "\x1b[31mred\u202e"},
        "seq": seq,
        "ts_ns": 1_795_539_600_000_000_000 + seq,
    }
    for seq in (1, 2, 3)
]


def proof_of(method: str, params: dict[str, Any]) -> dict[str, Any]:
    """A real proof over a log of the three entries, whose leaves are as docs/design/ctxgraph.md has them."""
    leaves = []
    for entry in ENTRIES:
        data = leaf_data(0, entry["seq"], entry["ts_ns"], 0, bytes.fromhex(entry["hash"]), "pulse", "pulse.count")
        leaves.append(leaf_hash(data))
    frontier = Frontier()
    roots = [frontier.root()]
    for leaf in leaves:
        frontier.append(leaf)
        roots.append(frontier.root())

    def source(level: int, first: int, count: int) -> list[bytes]:
        return leaves[first : first + count]

    checkpoint = {"size": 3, "root": roots[3].hex()}
    if method == "root":
        return checkpoint
    if method == "prove":
        entry = ENTRIES[(params.get("seq") or int(params["hash"], 16)) - 1]
        record = {name: entry[name] for name in ("seq", "ts_ns", "hash", "agent_id", "key")}
        path = [step.hex() for step in inclusion_proof(source, entry["seq"] - 1, 3)]
        return {**checkpoint, "record": {**record, "kind": 0, "expires_ns": 0}, "path": path}
    size = params["size"]
    path = [step.hex() for step in consistency_proof(source, size, 3)]
    return {"old": {"size": size, "root": roots[size].hex()}, "new": checkpoint, "path": path}


class System:
    """`backend` is the tree, `layout` the paths, `socket` the gateway's."""

    def __init__(self, layout: Layout, backend: MemoryBackend) -> None:
        self.layout = layout
        self.backend = backend
        self.socket = str(layout.gateway_socket)
        self.written: list[dict[str, Any]] = []

    async def ctx(self, call: Call) -> Any:
        """What the real store would say to these calls, for its three entries."""
        match call.method, call.params:
            case ("query" | "history", {"limit": limit, "order": "desc"}):
                after = call.params.get("after")
                found = [e for e in reversed(ENTRIES) if after is None or int(str(e["seq"])) < after][:limit]
                return {"entries": found, "next": found[-1]["seq"] if found else None}
            case "read", {"hash": hash}:
                for entry in ENTRIES:
                    if entry["hash"] == hash:
                        return entry
                raise NullBoxError(ErrorCode.NOT_FOUND, f"no entry {hash}")
            case "latest", _:
                return ENTRIES[-1]
            case "root" | "prove" | "consistency", params:
                return proof_of(call.method, params)
            case "graph", {"hash": hash}:
                nodes = [
                    {**{name: entry[name] for name in ("hash", "agent_id", "key", "seq", "ts_ns")}, "depth": depth}
                    for depth, entry in enumerate(reversed(ENTRIES))
                ]
                edge = [ENTRIES[2]["hash"], ENTRIES[1]["hash"]]
                hidden = {"hash": "9" * 64, "depth": 2, "hidden": True}
                return {"nodes": [*nodes[:2], hidden], "edges": [edge], "truncated": True}
            case "by_agent", {"agent_id": "pulse"}:
                return {"entries": ENTRIES[::-1], "next": None}
            case "agents", _:
                return {"agents": [{"agent_id": "pulse", "entries": 3, "bytes": 120}]}
            case "write", params:
                self.written.append(params)
                return {"hash": "f" * 64, "seq": 4, "ts_ns": 5}
            case "status", _:
                return {"size": 3, "root": "0" * 64, "searchable": 3, "path": "ctxgraph.sqlite", "failed": None}
            case "import", {"start": start, "lines": lines}:
                return {"added": 0, "present": len(lines), "size": start["size"], "root": start["root"]}
            case "search", _:
                return {"entries": ENTRIES[:1]}
            case "delete" | "erase", _:
                return {"hash": "e" * 64, "seq": 5, "ts_ns": 6}
            case "verify", _:
                return {"sound": True}
            case "export", _:
                return call.stream(self._watch({"ctxgraph": 1, **proof_of("root", {}), "prefixes": [""]}))
            case "watch", _:
                return call.stream(self._watch())
        raise NullBoxError(ErrorCode.INVALID, call.method)

    async def _watch(self, *before: dict[str, Any]) -> AsyncIterator[Any]:
        for value in (*before, *ENTRIES):
            yield value


@contextlib.contextmanager
def running() -> Iterator[System]:
    """The system, up; down again afterwards."""
    with tempfile.TemporaryDirectory(prefix="nb") as folder:
        layout = Layout(Path(folder) / "run", Path(folder) / "var", Path(folder) / "system")
        system = System(layout, MemoryBackend())
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, daemon=True)
        thread.start()
        server = asyncio.run_coroutine_threadsafe(_serve(system), loop).result(10)
        service = GatewayService(system.backend, layout, {"operators": {"uids": [os.getuid()]}})
        try:
            with (
                mock.patch.object(collector, "PERIOD", 0.05),
                mock.patch.object(
                    gateway, "collect_denials", functools.partial(collector.collect_denials, period=0.05)
                ),
            ):
                service.start()
                yield system
        finally:
            service.stop()
            asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join(10)
            loop.close()


async def _serve(system: System) -> LineServer:
    server = LineServer(system.ctx)
    await server.listen(system.layout.ctx_host_socket)
    return server

"""A gateway on a real socket over a tree in memory, with a ctxgraph stand-in that holds three fixed entries."""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from nullbox.gateway.memory import MemoryBackend
from nullbox.gateway.service import GatewayService
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.rpc.call import Call
from nullbox.rpc.server import LineServer

ENTRIES = [
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
            case "agents", _:
                return {"agents": [{"agent_id": "pulse", "entries": 3, "bytes": 120}]}
            case "write", params:
                self.written.append(params)
                return {"hash": "f" * 64, "seq": 4, "ts_ns": 5}
            case "status", _:
                return {"size": 3, "root": "0" * 64, "searchable": 3, "path": "ctxgraph.sqlite", "failed": None}
            case "search", _:
                return {"entries": ENTRIES[:1]}
            case "delete" | "erase", _:
                return {"hash": "e" * 64, "seq": 5, "ts_ns": 6}
            case "verify", _:
                return {"sound": True}
            case "watch" | "export", _:
                return call.stream(self._watch())
        raise NullBoxError(ErrorCode.INVALID, call.method)

    async def _watch(self) -> AsyncIterator[Any]:
        for entry in ENTRIES:
            yield entry


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
        service.start()
        try:
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

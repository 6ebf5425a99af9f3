"""A line server with methods that behave in every way, and a client that says what it likes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.call import Call
from nullbox.rpc.limits import Limits
from nullbox.rpc.server import LineServer

DEADLINE = 20.0
DEFAULT = Limits()


class Service:
    """Methods with every way to behave. `cancelled` and `closed` count the ends that a service must see."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.closed = asyncio.Event()
        self.produced = 0

    async def handle(self, call: Call) -> Any:
        match call.method:
            case "subtract":
                return call.params["minuend"] - call.params["subtrahend"]
            case "sum":
                return sum(call.params.values())
            case "get_data":
                return ["hello", 5]
            case "update" | "notify_hello" | "notify_sum":
                return None
            case "echo":
                return call.params
            case "who":
                peer = call.peer
                return {"pid": peer.pid, "uid": peer.uid, "gid": peer.gid, "channel": peer.channel}
            case "hang":
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled.set()
            case "refuse":
                raise NullBoxError(ErrorCode.WRONG_STATE, "it is paused; resume it first", {"state": "paused"})
            case "bug":
                raise KeyError("inside")
            case "bytes":
                return b"not JSON"
            case "large":
                return "x" * call.params["size"]
            case "count":
                return call.stream(self._count(call.params.get("to"), call.params.get("size", 1)), of="numbers")
            case "rush":
                return call.stream(self._rush())
            case "fail later":
                return call.stream(self._fail())
            case _:
                raise NullBoxError(ErrorCode.NOT_FOUND, f"no method {call.method}")
        return None

    async def _count(self, to: int | None, size: int) -> AsyncIterator[Any]:
        try:
            while to is None or self.produced < to:
                self.produced += 1
                yield self.produced if size == 1 else "x" * size
                await asyncio.sleep(0)
        finally:
            self.closed.set()

    async def _rush(self) -> AsyncIterator[Any]:
        """Never waits for anything, as a reader of a file does not."""
        while True:
            self.produced += 1
            yield "x" * 1000

    async def _fail(self) -> AsyncIterator[Any]:
        yield 1
        raise NullBoxError(ErrorCode.UNAVAILABLE, "the source is gone")


def names(method: str) -> list[str] | None:
    return {"subtract": ["minuend", "subtrahend"], "sum": ["a", "b", "c"], "update": list("abcde")}.get(method)


def serve(
    tmp_path: Path, body: Callable[[Path, Service, LineServer], Awaitable[None]], limits: Limits = DEFAULT
) -> None:
    async def main() -> None:
        service = Service()
        server = LineServer(
            service.handle,
            limits=limits,
            deadline=lambda call: 0.2 if call.params.get("brief") else limits.deadline,
            names=names,
        )
        path = tmp_path / "s.sock"
        await server.listen(path)
        try:
            async with asyncio.timeout(DEADLINE):
                await body(path, service, server)
        finally:
            await server.close()

    asyncio.run(main())


class Raw:
    """A client that sends what it is told to, byte by byte if need be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> Raw:
        return cls(*await asyncio.open_unix_connection(str(path), limit=4 << 20))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> Any:
        return json.loads(await self.reader.readline())

    async def ask(self, data: bytes) -> Any:
        self.send(data + b"\n")
        return await self.receive()

    async def ended(self) -> bytes:
        """Everything up to the server's closing."""
        rest = b""
        try:
            while data := await self.reader.read(65536):
                rest += data
        except ConnectionResetError:
            pass
        return rest

    def close(self) -> None:
        self.writer.close()

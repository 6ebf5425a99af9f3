"""A JSON-RPC client over a Unix socket for asyncio programs: many calls and streams over one connection.

    async with AsyncClient("/run/nulld.sock") as client:
        version = await client.call("version")
        async for event in client.stream("events"): ...

A stream whose values nobody takes holds up the whole connection (that is its backpressure); give a slow consumer
a client of its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from typing import Any

from nullbox.protocols import jsonrpc
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.framing import LineSplitter, TooLong
from nullbox.protocols.jsonrpc import ErrorAnswer, Result
from nullbox.rpc.client import Unreachable, address_of

STREAM_BUFFER = 256
"""Values of one stream that are held before the connection is read no further."""


class AsyncClient:
    """See the module. Connects at the first call, and again after the server went away."""

    def __init__(self, path: str | os.PathLike[str], *, timeout: float | None = 15.0) -> None:
        self.path = os.fspath(path)
        self.timeout = timeout
        self._connecting = asyncio.Lock()
        self._writer: asyncio.StreamWriter | None = None
        self._reading: asyncio.Task[None] | None = None
        self._next_id = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._streams: dict[str, asyncio.Queue[dict[str, Any]]] = {}

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Hang up; whatever is under way ends with `Unreachable`."""
        if self._reading is not None:
            self._reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reading

    async def call(self, method: str, params: dict[str, Any] | None = None, *, timeout: float | None = None) -> Any:
        """Ask and wait for the answer.

        Raises:
            Unreachable: there is no server.
            NullBoxError: the server's error; `timeout` if no answer came in time.
        """
        seconds = self.timeout if timeout is None else timeout
        number: int | None = None
        try:
            async with asyncio.timeout(seconds):
                writer = await self._connect()
                self._next_id += 1
                number = self._next_id
                future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
                self._waiting[number] = future
                writer.write(jsonrpc.encode(jsonrpc.request(method, params, number)))
                with contextlib.suppress(ConnectionError):
                    await writer.drain()
                return await future
        except TimeoutError:
            raise NullBoxError(ErrorCode.TIMEOUT, f"{method}: no answer within {seconds:g} s") from None
        finally:
            if number is not None:
                self._waiting.pop(number, None)

    async def stream(
        self, method: str, params: dict[str, Any] | None = None, *, timeout: float | None = None
    ) -> AsyncIterator[Any]:
        """The values of a stream. Leaving the loop (or `aclose`) cancels it at the server."""
        answer = await self.call(method, params, timeout=timeout)
        name = answer.get("subscription") if isinstance(answer, dict) else None
        if not isinstance(name, str):
            raise NullBoxError(ErrorCode.INVALID, f"{method} does not stream; use call()")
        queue = self._streams[name]
        over = False
        try:
            while True:
                item = await queue.get()
                if item.get("end"):
                    over = True
                    if isinstance(item.get("error"), dict):
                        raise jsonrpc.error_from(item["error"])
                    return
                yield item.get("value")
        finally:
            self._streams.pop(name, None)
            if not over and self._writer is not None:
                # The reader may be stuck on this stream's full queue; taking it out lets it go on.
                while not queue.empty():
                    queue.get_nowait()
                with contextlib.suppress(NullBoxError):
                    await self.call(jsonrpc.STREAM_CANCEL, {"subscription": name})

    async def _connect(self) -> asyncio.StreamWriter:
        async with self._connecting:
            if self._writer is not None:
                return self._writer
            try:
                reader, writer = await _open(self.path)
            except OSError as error:
                message = f"cannot connect to {self.path}: {error.strerror or error}; is nulld running?"
                raise Unreachable(message) from None
            self._writer = writer
            self._reading = asyncio.create_task(self._read(reader, writer))
            return writer

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reason: NullBoxError = Unreachable(f"the server at {self.path} hung up")
        splitter = LineSplitter()
        try:
            while data := await reader.read(65536):
                for line in splitter.feed(data):
                    if isinstance(line, TooLong):
                        raise NullBoxError(ErrorCode.TOO_LARGE, f"an answer of more than {line.limit} bytes")
                    await self._take(line)
        except NullBoxError as error:
            reason = error
        except ConnectionError as error:
            reason = Unreachable(f"lost {self.path}: {error.strerror or error}")
        finally:
            self._writer = None
            writer.close()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(reason)
            end = {"end": True, "error": jsonrpc.error_object(reason)}
            for queue in self._streams.values():
                if queue.full():
                    queue.get_nowait()
                queue.put_nowait(end)
            self._streams.clear()

    async def _take(self, line: bytes) -> None:
        message = jsonrpc.parse_answer(line)
        if isinstance(message, jsonrpc.Request):
            params = message.params
            if message.method == jsonrpc.STREAM and isinstance(params, dict):
                queue = self._streams.get(str(params.get("subscription")))
                if queue is not None:
                    await queue.put(params)
            return
        if message.id is None:
            assert isinstance(message, ErrorAnswer)
            raise message.error
        future = self._waiting.get(message.id) if isinstance(message.id, int) else None
        if future is None or future.done():
            return
        if isinstance(message, Result):
            if isinstance(message.value, dict) and isinstance(message.value.get("subscription"), str):
                # Its first values may be in the same read, before the caller of stream() runs again.
                self._streams[message.value["subscription"]] = asyncio.Queue(STREAM_BUFFER)
            future.set_result(message.value)
        else:
            future.set_exception(message.error)


async def _open(where: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Connect. Raises OSError."""
    family, address = address_of(where)
    if family == socket.AF_UNIX:
        return await asyncio.open_unix_connection(where)
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, address)
    except BaseException:
        sock.close()
        raise
    return await asyncio.open_connection(sock=sock)

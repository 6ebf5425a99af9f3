"""The open streams of one connection: pulled one value at a time, and only while the peer takes them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nullbox.protocols import jsonrpc
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.call import Stream
from nullbox.rpc.limits import Limits

TURN = 32
"""Values that one stream sends before the others have their turn."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """A stream that has its id and waits until the answer with that id is out."""

    id: str
    stream: Stream


class Subscriptions:
    """Streams of one connection by id. `write` takes a whole line; `writable` is set while the peer takes output."""

    def __init__(self, limits: Limits, write: Callable[[bytes], None], writable: asyncio.Event) -> None:
        self._limits = limits
        self._write = write
        self._writable = writable
        self._pumps: dict[str, asyncio.Task[None]] = {}
        self._next = 1

    def __len__(self) -> int:
        return len(self._pumps)

    async def open(self, stream: Stream, notification: bool) -> Opened:
        """Give the stream its id.

        Raises:
            NullBoxError: `invalid` for a notification, which cannot learn the id; `unavailable` if too many are
                open. The source is closed then.
        """
        error: NullBoxError | None = None
        if notification:
            error = NullBoxError(ErrorCode.INVALID, "a stream needs an answer: send the request with an id")
        elif len(self._pumps) >= self._limits.subscriptions:
            message = f"{self._limits.subscriptions} streams are open on this connection; cancel one first"
            error = NullBoxError(ErrorCode.UNAVAILABLE, message)
        if error is not None:
            await _close(stream)
            raise error
        name = f"s{self._next}"
        self._next += 1
        return Opened(name, stream)

    def start(self, opened: Opened | None) -> None:
        """Begin to send; a no-op for an answer that was no stream."""
        if opened is not None:
            self._pumps[opened.id] = asyncio.get_running_loop().create_task(self._pump(opened))

    def cancel(self, params: dict[str, Any]) -> dict[str, Any]:
        """Serve `stream.cancel`. Nothing of the stream is sent after this returns.

        Raises:
            NullBoxError: `not_found`.
        """
        name = params.get("subscription")
        task = self._pumps.pop(name, None) if isinstance(name, str) else None
        if task is None:
            known = ", ".join(self._pumps) or "none"
            raise NullBoxError(ErrorCode.NOT_FOUND, f"no subscription {name!r} here; open ones: {known}")
        task.cancel()
        return {"cancelled": name}

    def cancel_all(self) -> None:
        """The peer is gone."""
        for task in self._pumps.values():
            task.cancel()
        self._pumps.clear()

    async def _pump(self, opened: Opened) -> None:
        error: NullBoxError | None = None
        sent = 0
        try:
            async for value in opened.stream.source:
                await self._writable.wait()
                self._send(opened.id, value)
                sent += 1
                if sent % TURN == 0:
                    # A source that never waits (a file) must not keep the loop from everybody else.
                    await asyncio.sleep(0)
        except NullBoxError as raised:
            error = raised
        except Exception:
            log.exception("stream %s failed", opened.id)
            error = NullBoxError(ErrorCode.INTERNAL, "the stream failed inside; the log says why")
        finally:
            await _close(opened.stream)
        if self._pumps.pop(opened.id, None) is not None:
            self._write(jsonrpc.encode(jsonrpc.stream_end(opened.id, error)))

    def _send(self, name: str, value: Any) -> None:
        if name not in self._pumps:
            return
        line = jsonrpc.encode(jsonrpc.stream_value(name, value))
        if len(line) > self._limits.line + 1:
            message = f"a value of the stream is over {self._limits.line} bytes"
            raise NullBoxError(ErrorCode.TOO_LARGE, message)
        self._write(line)


async def _close(stream: Stream) -> None:
    closer = getattr(stream.source, "aclose", None)
    if closer is not None:
        with contextlib.suppress(Exception):
            await closer()

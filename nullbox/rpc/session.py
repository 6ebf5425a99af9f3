"""One client's connection: lines in, answers and streams out, within the limits.

A session is an asyncio protocol over any asyncio transport, so it serves a Unix socket and a character device
alike. Its rule for trouble: whatever a peer does costs that peer its own connection at most. On an endless
channel (`endless=True`), where there is no connection to lose, it costs what was under way.
"""

from __future__ import annotations

import asyncio
import logging
import select
import threading
from collections import deque
from collections.abc import Callable
from typing import cast

from nullbox.protocols import jsonrpc
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.framing import LineSplitter, TooLong
from nullbox.protocols.jsonrpc import Batch, Invalid, Request
from nullbox.rpc.answers import Answer, answer_line
from nullbox.rpc.call import Peer, Settings
from nullbox.rpc.limits import Limits, TokenBucket
from nullbox.rpc.requests import Requests
from nullbox.rpc.subscriptions import Subscriptions

FLUSH_AT = 32 * 1024
"""Bytes of output that go out without waiting for the end of the loop's turn."""

LINES_PER_TURN = 64
"""Lines of one connection that are served before the others have their turn."""

log = logging.getLogger(__name__)


class _Incoming(threading.local):
    """Where a thread's loop receives: one place for all its sessions, as each piece is taken before the next comes.

    (Without it asyncio makes room for 256 KiB at each read, which takes longer than the read.)
    """

    def __init__(self) -> None:
        self.buffer = memoryview(bytearray(64 * 1024))


_INCOMING = _Incoming()


class Session(asyncio.BufferedProtocol):
    """See the module. `on_closed` is called once, when the connection is gone."""

    def __init__(
        self,
        settings: Settings,
        identify: Callable[[asyncio.BaseTransport], Peer],
        *,
        endless: bool = False,
        limits: Limits | None = None,
        on_closed: Callable[[Session], None] = lambda session: None,
    ) -> None:
        self._settings = settings
        self._limits = limits or settings.limits
        self._identify = identify
        self._endless = endless
        self._on_closed = on_closed
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self._splitter = LineSplitter(self._limits.line)
        self._requests = TokenBucket(self._limits.rate, self._limits.burst, now)
        self._faults = TokenBucket(self._limits.fault_rate, self._limits.fault_burst, now)
        self._writable = asyncio.Event()
        self._writable.set()
        self._streams = Subscriptions(self._limits, self._write, self._writable)
        self._work = Requests(settings, self._streams, self._send, self._finish_after_eof)
        self._last_line = now
        self._blocked_since: float | None = None
        self._output = bytearray()
        self._lines: deque[bytes | TooLong] = deque()
        self._turn: asyncio.Handle | None = None
        self._taking = False
        self._closing = False
        self._eof = False
        self._timer: asyncio.TimerHandle | None = None
        self.peer = Peer()

    # --- asyncio.BufferedProtocol ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = self._identify(transport)
        self._watch()

    def get_buffer(self, sizehint: int) -> memoryview:
        return _INCOMING.buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(bytes(_INCOMING.buffer[:nbytes]))

    def data_received(self, data: bytes) -> None:
        """The next piece of what the peer sends. (Of a port; sockets fill a buffer.)"""
        if not self._closing:
            self._lines.extend(self._splitter.feed(data))
            self._take_lines()

    def _take_lines(self) -> None:
        """Serve what came, in turns: a peer with much to ask must not keep the loop from everybody else."""
        now = self._loop.time()
        self._taking = True
        try:
            for _ in range(LINES_PER_TURN):
                if not self._lines or self._closing or self._blocked_since is not None:
                    break
                self._last_line = now
                line = self._lines.popleft()
                if isinstance(line, TooLong):
                    self._too_long(line)
                else:
                    self._line(line, now)
        finally:
            self._taking = False
        self._flush()
        if self._lines and not self._closing:
            self._transport.pause_reading()
            if self._blocked_since is None and self._turn is None:
                self._turn = self._loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        self._turn = None
        if self._closing or self._blocked_since is not None:
            return
        self._take_lines()
        if not self._lines and self._blocked_since is None and not self._closing:
            self._transport.resume_reading()

    def eof_received(self) -> bool:
        """The peer sends no more. If it still reads (a half close), what it asked is answered; streams end."""
        self._eof = True
        self._streams.cancel_all()
        if self._hung_up():
            return False
        self._finish_after_eof()
        return True

    def pause_writing(self) -> None:
        self._writable.clear()
        self._blocked_since = self._loop.time()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._writable.set()
        self._blocked_since = None
        if self._closing:
            return
        if not self._lines:
            self._transport.resume_reading()
        elif self._turn is None:
            self._turn = self._loop.call_soon(self._next_turn)

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        if self._timer:
            self._timer.cancel()
        self._drop_work()
        self._on_closed(self)

    def peer_gone(self) -> None:
        """The far end of an endless channel was closed: whoever comes next is another client."""
        self._drop_work()
        self._output.clear()
        self._lines.clear()
        self._splitter.reset()
        self._blocked_since = None

    # --- ending ---------------------------------------------------------------------------------------------

    def close(self, error: NullBoxError | None = None) -> None:
        """Send what is written so far, with `error` as the last line, and close."""
        if self._closing:
            return
        if error is not None:
            self._send(jsonrpc.failure(None, error))
        self._flush()
        self._closing = True
        self._drop_work()
        self._transport.close()
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(self._limits.stall, self._transport.abort)

    def _drop_work(self) -> None:
        self._work.drop()
        self._streams.cancel_all()

    def _finish_after_eof(self) -> None:
        if self._eof and not self._work.under_way:
            self.close()

    def _hung_up(self) -> bool:
        """The peer closed both ways: poll says POLLHUP for a Unix socket then, and not after a half close."""
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket"), 0)
        return any(event & select.POLLHUP for _, event in poll.poll(0))

    def _watch(self) -> None:
        """Look from time to time whether the peer is idle, in mid-line, or takes no output."""
        limits, now = self._limits, self._loop.time()
        quiet = now - self._last_line
        busy = bool(self._work.under_way or self._streams)
        if not self._endless:
            if self._eof and self._hung_up():
                self._transport.abort()
                return
            if self._blocked_since is not None and now - self._blocked_since > limits.stall:
                log.info("peer %s takes no output; connection dropped", self.peer)
                self._transport.abort()
                return
            if self._splitter.pending and quiet > limits.stall:
                message = f"a line stayed unfinished for {limits.stall:g} s; end each message with a newline"
                self.close(NullBoxError(ErrorCode.TIMEOUT, message))
                return
            if limits.idle is not None and not busy and quiet > limits.idle:
                message = f"nothing was asked for {limits.idle:g} s; connect again when needed"
                self.close(NullBoxError(ErrorCode.TIMEOUT, message))
                return
        period = min(limits.stall, limits.idle or limits.stall) / 4
        self._timer = self._loop.call_later(period, self._watch)

    # --- lines to requests ----------------------------------------------------------------------------------

    def _too_long(self, line: TooLong) -> None:
        message = f"a line of more than {line.limit} bytes; split the request"
        error = jsonrpc.RpcError(ErrorCode.TOO_LARGE, message, number=jsonrpc.INVALID_REQUEST)
        if self._endless:
            self._send(jsonrpc.failure(None, error))
        else:
            self.close(error)

    def _line(self, line: bytes, now: float) -> None:
        message = jsonrpc.parse(line)
        if type(message) is Request and self._work.under_way < self._limits.in_flight and self._requests.take(now):
            self._work.begin(message, self.peer, last=not self._lines)
            return
        items = message.items if isinstance(message, Batch) else (message,)
        refused = self._refuse(len(items), now)
        if refused is not None:
            ids = [item.id for item in items if isinstance(item, Invalid) or not item.notification]
            answers = [jsonrpc.failure(id, refused) for id in ids]
            if answers:
                self._send(answers if isinstance(message, Batch) else answers[0])
            self._fault(len(items))
            return
        bad = sum(isinstance(item, Invalid) for item in items)
        if isinstance(message, Invalid):
            self._send(jsonrpc.failure(message.id, message.error))
        else:
            self._work.begin(message, self.peer)
        if bad:
            self._fault(bad)

    def _refuse(self, count: int, now: float) -> NullBoxError | None:
        limits = self._limits
        if self._work.under_way + count > limits.in_flight:
            message = f"{limits.in_flight} requests are under way on this connection; wait for answers first"
            return NullBoxError(ErrorCode.UNAVAILABLE, message)
        if not self._requests.take(now, count):
            message = f"more than {limits.rate:g} requests a second on this connection; slow down"
            return NullBoxError(ErrorCode.UNAVAILABLE, message)
        return None

    def _fault(self, count: int) -> None:
        """Count what was nonsense or refused; a peer that goes on with it is not worth serving."""
        if self._faults.take(self._loop.time(), count) or self._endless:
            return
        message = "too many malformed or refused requests on this connection; it is closed"
        self.close(NullBoxError(ErrorCode.UNAVAILABLE, message))

    # --- output ---------------------------------------------------------------------------------------------

    def _send(self, answer: Answer) -> None:
        self._write(answer_line(answer, self._limits.line))

    def _write(self, line: bytes) -> None:
        """Queue a line. What is queued in one turn of the loop goes out by one system call; at once, where nothing
        can follow that would share it."""
        if self._closing or self._transport.is_closing():
            return
        first = not self._output
        self._output += line
        if len(self._output) >= FLUSH_AT:
            self._flush()  # or a stream would not learn that the peer takes no more
        elif not self._taking:
            if not self._work.under_way and not self._streams:
                self._flush()
            elif first:
                self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._output:
            if not self._transport.is_closing():
                self._transport.write(bytes(self._output))
            self._output.clear()

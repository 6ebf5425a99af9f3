"""An asyncio transport over a virtio-serial port, or any descriptor like it. Effects: epoll, read, write.

Such a port is one duplex channel without connections: while nobody has the far end open, reads return 0 bytes
and poll says POLLIN and POLLHUP without end (Linux drivers/char/virtio_console.c), which a level-triggered loop
would answer with a busy loop. So the descriptor sits, edge-triggered, in an epoll of its own, and the event
loop watches that one: it wakes when something changes, and only then.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import select
from typing import Protocol

CHUNK = 64 * 1024
READS_PER_TURN = 16
HIGH_WATER = 256 * 1024
LOW_WATER = 64 * 1024


class PortProtocol(Protocol):
    """What the transport calls: the usual five of asyncio, and `peer_gone`."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None: ...
    def data_received(self, data: bytes) -> None: ...
    def pause_writing(self) -> None: ...
    def resume_writing(self) -> None: ...
    def connection_lost(self, exc: Exception | None) -> None: ...
    def peer_gone(self) -> None: ...


class PortTransport(asyncio.Transport):
    """See the module. `peer_gone` comes each time the far end is found closed; output for it is dropped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, fd: int, protocol: PortProtocol) -> None:
        super().__init__({"fd": fd})
        self._loop = loop
        self._fd = fd
        self._protocol = protocol
        self._buffer = bytearray()
        self._reading = True
        self._blocked = False
        self._closed = False
        self._present = False
        os.set_blocking(fd, False)
        self._epoll = select.epoll()
        self._epoll.register(fd, select.EPOLLIN | select.EPOLLOUT | select.EPOLLET)
        loop.add_reader(self._epoll.fileno(), self._ready)
        protocol.connection_made(self)

    # --- asyncio.Transport ----------------------------------------------------------------------------------

    def is_closing(self) -> bool:
        return self._closed

    def pause_reading(self) -> None:
        self._reading = False

    def resume_reading(self) -> None:
        if not self._reading:
            self._reading = True
            self._loop.call_soon(self._read)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closed:
            return
        self._buffer += data
        self._flush()

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        """Close the descriptor. What was not written yet is lost."""
        if self._closed:
            return
        self._closed = True
        self._loop.remove_reader(self._epoll.fileno())
        self._epoll.close()
        with contextlib.suppress(OSError):
            os.close(self._fd)
        self._loop.call_soon(self._protocol.connection_lost, None)

    # --- events ---------------------------------------------------------------------------------------------

    def _ready(self) -> None:
        self._epoll.poll(0)
        self._flush()
        self._read()

    def _read(self) -> None:
        for _ in range(READS_PER_TURN):
            if self._closed or not self._reading:
                return
            try:
                data = os.read(self._fd, CHUNK)
            except BlockingIOError:
                return
            except InterruptedError:
                continue
            except OSError as error:
                if error.errno not in (errno.EIO, errno.ENODEV, errno.ECONNRESET):
                    raise
                data = b""
            if not data:
                self._gone()
                return
            self._present = True
            self._protocol.data_received(data)
        # An edge comes once, so what is left has to be fetched without waiting for another one.
        self._loop.call_soon(self._read)

    def _flush(self) -> None:
        while self._buffer:
            try:
                written = os.write(self._fd, self._buffer[:CHUNK])
            except InterruptedError:
                continue
            except BlockingIOError:
                break
            except OSError:
                self._buffer.clear()
                break
            del self._buffer[:written]
        if not self._blocked and len(self._buffer) > HIGH_WATER:
            self._blocked = True
            self._protocol.pause_writing()
        elif self._blocked and len(self._buffer) <= LOW_WATER:
            self._blocked = False
            self._protocol.resume_writing()

    def _gone(self) -> None:
        self._buffer.clear()
        if self._present:
            self._present = False
            self._protocol.peer_gone()
        self._flush()

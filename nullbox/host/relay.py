"""Share the one gateway port of a machine among many local clients. Effects: asyncio, Unix sockets.

QEMU listens on a Unix socket for one client, whose bytes are those of the virtio-serial port. The relay is that
client, and serves JSON-RPC lines on a socket of its own; which answer is whose is `multiplex`'s business. A client
that sends nonsense without end, or does not take its answers, loses its own connection and nothing else happens; one
that asks too much at once is not read from until its answers are there.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from nullbox.host.multiplex import Multiplexer, Send, encode, unavailable
from nullbox.protocols import jsonrpc
from nullbox.protocols.framing import MAX_LINE, LineSplitter, TooLong
from nullbox.rpc.limits import TokenBucket

log = logging.getLogger(__name__)

CHUNK = 64 * 1024
RECONNECT_SECONDS = 0.1
BOOTING = "the system in the machine is starting; its gateway does not answer yet"
PORT_CLOSED = "the gateway in the machine is not there; it is being restarted, try again"
MACHINE_GONE = "the machine is down"


@dataclass(frozen=True)
class RelayLimits:
    """What one client may use. Times in seconds, sizes in bytes.

    clients: connected at one time. in_flight: its requests without an answer; more are not read.
    output: what it has not taken yet. fault_rate, fault_burst: lines that are no requests.
    """

    clients: int = 128
    in_flight: int = 32
    output: int = 4 * MAX_LINE
    fault_rate: float = 10.0
    fault_burst: float = 100.0


class _Connection:
    """One client: its stream, and a wake-up for when an answer made room."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self.writer = writer
        self.room = asyncio.Event()


class Relay:
    """See the module.

    port: QEMU's socket. listen: the clients' socket, made with mode 0600. await_port: the port is closed until
    `port_opened` is called; otherwise it counts as open as soon as QEMU is connected.
    """

    def __init__(
        self, port: Path, listen: Path, *, await_port: bool = False, limits: RelayLimits | None = None
    ) -> None:
        self.port = port
        self.listen = listen
        self.limits = limits or RelayLimits()
        self._mux = Multiplexer()
        self._keys = itertools.count(1)
        self._connections: dict[int, _Connection] = {}
        self._machine: asyncio.StreamWriter | None = None
        self._splitter = LineSplitter()
        self._port_open = not await_port
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._dispatch(self._mux.machine_down(BOOTING))

    async def start(self) -> None:
        """Listen for clients, and connect to QEMU as soon as it is there."""
        self.listen.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        old = os.umask(0o177)
        try:
            listener.bind(str(self.listen))
        finally:
            os.umask(old)
        self._server = await asyncio.start_unix_server(self._client, sock=listener, limit=CHUNK)
        self._spawn(self._follow_machine())

    async def close(self) -> None:
        """Hang up on all, with `unavailable` for what is under way."""
        self._down(MACHINE_GONE)
        if self._server:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for connection in self._connections.values():
            connection.writer.close()
        self.listen.unlink(missing_ok=True)

    def port_opened(self) -> None:
        """The gateway in the machine has opened its end of the port."""
        if not self._port_open:
            self._port_open = True
            self._up_if_ready()

    def port_closed(self) -> None:
        """The gateway in the machine has closed its end, or died."""
        if self._port_open:
            self._port_open = False
            self._splitter.reset()
            self._down(PORT_CLOSED)

    # --- the machine's side ---------------------------------------------------------------------------------

    async def _follow_machine(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self.port), limit=CHUNK)
            except OSError:
                await asyncio.sleep(RECONNECT_SECONDS)
                continue
            self._machine = writer
            self._splitter.reset()
            self._up_if_ready()
            with contextlib.suppress(OSError):
                while data := await reader.read(CHUNK):
                    for line in self._splitter.feed(data):
                        if isinstance(line, TooLong):
                            log.warning("the machine sent a line of more than %d bytes; dropped", line.limit)
                        else:
                            self._dispatch(self._mux.from_machine(line))
            self._machine = None
            self._down(MACHINE_GONE)
            writer.close()

    def _up_if_ready(self) -> None:
        if self._machine and self._port_open:
            self._machine.write(b"\n")  # ends the half line that a predecessor may have left behind
            self._dispatch(self._mux.machine_up())

    def _down(self, reason: str) -> None:
        self._dispatch(self._mux.machine_down(reason))

    def _dispatch(self, sends: Iterable[Send]) -> None:
        for send in sends:
            if send.to is None:
                if self._machine:
                    self._machine.write(send.line)
            elif connection := self._connections.get(send.to):
                self._write(send.to, connection, send.line)
        for key, connection in self._connections.items():
            if self._mux.in_flight(key) < self.limits.in_flight:
                connection.room.set()

    def _write(self, key: int, connection: _Connection, line: bytes) -> None:
        transport = connection.writer.transport
        if transport.is_closing():
            return
        if transport.get_write_buffer_size() + len(line) > self.limits.output:
            log.warning("client %d does not take its answers; its connection is closed", key)
            transport.abort()
            return
        connection.writer.write(line)

    # --- the clients' side ----------------------------------------------------------------------------------

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._connections) >= self.limits.clients:
            error = unavailable(f"{self.limits.clients} clients are connected; close one first")
            writer.write(encode(jsonrpc.failure(None, error)))
            writer.close()
            return
        key = next(self._keys)
        connection = _Connection(writer)
        self._connections[key] = connection
        self._mux.add(key)
        task = asyncio.current_task()
        if task:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError):
                await self._converse(key, connection, reader)
        finally:
            del self._connections[key]
            self._dispatch(self._mux.remove(key))
            writer.close()

    async def _converse(self, key: int, connection: _Connection, reader: asyncio.StreamReader) -> None:
        """Read and pass on what one client sends, until it hangs up or has to be hung up on."""
        clock = asyncio.get_running_loop().time
        patience = TokenBucket(self.limits.fault_rate, self.limits.fault_burst, clock())
        splitter = LineSplitter()
        while data := await reader.read(CHUNK):
            for line in splitter.feed(data):
                if isinstance(line, TooLong):
                    self._dispatch(self._mux.too_long(key, line.limit))
                    await connection.writer.drain()
                    return
                before = self._mux.faults(key)
                self._dispatch(self._mux.from_client(key, line))
                faults = self._mux.faults(key) - before
                if faults and not patience.take(clock(), faults):
                    log.warning("client %d sends nonsense; its connection is closed", key)
                    return
                await self._wait_for_room(key, connection)
        # It may have closed its sending side only, and still wait for answers.
        while self._mux.in_flight(key) and not connection.writer.is_closing():
            connection.room.clear()
            await connection.room.wait()

    async def _wait_for_room(self, key: int, connection: _Connection) -> None:
        """Wait while the client has too many requests under way, or the machine does not take more."""
        while self._mux.in_flight(key) >= self.limits.in_flight and not connection.writer.is_closing():
            connection.room.clear()
            await connection.room.wait()
        if self._machine:
            with contextlib.suppress(OSError):
                await self._machine.drain()

    def _spawn(self, work: asyncio._CoroutineLike[None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

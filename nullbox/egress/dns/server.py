"""Edge: the sockets on which agents ask, UDP and TCP on each gateway address, and the thread behind them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from nullbox.egress.dns.resolver import MAX_WAITING, AgentResolver
from nullbox.egress.dns.wire import Query
from nullbox.egress.policy import Grant
from nullbox.egress.slots import Slot
from nullbox.protocols.errors import ErrorCode, NullBoxError

PORT = 53
MAX_CONNECTIONS = 16
"""TCP connections of one agent at a time; further ones are closed at once."""
IDLE_S = 10.0
"""A TCP connection that asks nothing for this long is closed (RFC 7766, 6.2.3)."""
START_S = 10.0
SICK_AFTER_S = 10.0
"""Seconds that the thread may leave a question after its health unanswered."""
BATCH = 32
"""Datagrams of one agent that are read before others have their turn."""
MAX_DATAGRAM = 4096
"""Octets that are read of a question; a longer one is none (`wire.MAX_QUERY`)."""

T = TypeVar("T")


class Resolvers(Protocol):
    """What the service asks of the resolvers. `memory.MemoryResolvers` is the twin that tests use."""

    def open(self, slot: Slot, agent: str, resolver: AgentResolver) -> None:
        """Serve the agent on its gateway address.

        Raises:
            NullBoxError: `unavailable`, the address cannot be bound.
        """
        ...

    def close(self, agent: str) -> None: ...

    def regrant(self, agent: str, grants: Sequence[Grant], *, learn: bool = False) -> bool:
        """Judge by other grants from now on; whether the agent is served at all."""
        ...

    def forget(self, agent: str) -> int:
        """Drop the agent's cached answers; how many there were."""
        ...

    def healthy(self) -> bool:
        """Whether they answer. Never blocks; to be asked again and again."""
        ...


class _Datagrams:
    """One agent's UDP socket. Read here rather than by asyncio's transport, which takes one datagram a turn of the loop
    and a buffer of 256 KiB for each."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, link: socket.socket, guest: str, resolver: AgentResolver
    ) -> None:
        self._loop = loop
        self._link = link
        self._guest = guest
        self._resolver = resolver
        self._tasks: set[asyncio.Task[None]] = set()
        loop.add_reader(link, self._readable)

    def close(self) -> None:
        self._loop.remove_reader(self._link)
        for task in self._tasks:
            task.cancel()
        self._link.close()

    def _readable(self) -> None:
        for _ in range(BATCH):
            try:
                data, peer = self._link.recvfrom(MAX_DATAGRAM)
            except OSError:  # there is no more; or the guest did not want an earlier answer
                return
            if peer[0] != self._guest:
                continue
            answer = self._resolver.at_once(data, udp=True)
            if isinstance(answer, bytes):
                self._send(answer, peer)
            elif answer is not None and len(self._tasks) < 2 * MAX_WAITING:
                task = self._loop.create_task(self._later(answer, peer))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)

    def _send(self, answer: bytes, peer: tuple[str, int]) -> None:
        # A guest that does not read its answers loses them, as with any resolver.
        with contextlib.suppress(OSError):
            self._link.sendto(answer, peer)

    async def _later(self, query: Query, peer: tuple[str, int]) -> None:
        self._send(await self._resolver.later(query, udp=True), peer)


@dataclass(slots=True)
class _Served:
    resolver: AgentResolver
    datagrams: _Datagrams
    server: asyncio.Server
    connections: set[asyncio.Task[None]] = field(default_factory=set)


class ResolverThread:
    """All agents' resolvers in one event loop, in one thread of the network namespace of its maker.

    Args:
        device_bound: bind to the TAP as well as to the address, so that no other link can ask.
    """

    def __init__(self, port: int = PORT, *, device_bound: bool = True) -> None:
        self._port = port
        self._device_bound = device_bound
        self._served: dict[str, _Served] = {}
        self._asked: float | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="egress-dns", daemon=True)
        self._thread.start()

    def open(self, slot: Slot, agent: str, resolver: AgentResolver) -> None:
        try:
            self._do(self._open(slot, agent, resolver))
        except OSError as error:
            raise NullBoxError(
                ErrorCode.UNAVAILABLE, f"the resolver of {agent} cannot listen on {slot.gateway}: {error}"
            ) from error

    def close(self, agent: str) -> None:
        self._do(self._close(agent))

    def regrant(self, agent: str, grants: Sequence[Grant], *, learn: bool = False) -> bool:
        async def work() -> bool:
            if agent in self._served:
                self._served[agent].resolver.regrant(grants, learn=learn)
            return agent in self._served

        return self._do(work())

    def forget(self, agent: str) -> int:
        async def work() -> int:
            return self._served[agent].resolver.forget() if agent in self._served else 0

        return self._do(work())

    def healthy(self) -> bool:
        """Whether the thread lives and its loop turns: each call leaves a question with it that it has to take back."""
        asked = self._asked
        if asked is None:
            self._asked = asked = time.monotonic()
            self._loop.call_soon_threadsafe(self._answer)
        return self._thread.is_alive() and time.monotonic() - asked < SICK_AFTER_S

    def _answer(self) -> None:
        self._asked = None

    def stop(self) -> None:
        """Close everything and end the thread."""
        for agent in list(self._served):
            self.close(agent)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(START_S)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)

    async def _open(self, slot: Slot, agent: str, resolver: AgentResolver) -> None:
        await self._close(agent)
        with contextlib.ExitStack() as undo:
            datagrams = undo.enter_context(self._socket(slot, socket.SOCK_DGRAM))
            stream = undo.enter_context(self._socket(slot, socket.SOCK_STREAM))
            connections: set[asyncio.Task[None]] = set()
            server = await asyncio.start_server(self._connected(slot.guest, resolver, connections), sock=stream)
            reader = _Datagrams(self._loop, datagrams, slot.guest, resolver)
            self._served[agent] = _Served(resolver, reader, server, connections)
            undo.pop_all()

    async def _close(self, agent: str) -> None:
        served = self._served.pop(agent, None)
        if served is None:
            return
        served.datagrams.close()
        served.server.close()
        for task in served.connections:
            task.cancel()

    def _socket(self, slot: Slot, kind: int) -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        try:
            made.setblocking(False)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if self._device_bound:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, slot.tap.encode())
            made.bind((slot.gateway, self._port))
        except BaseException:
            made.close()
            raise
        return made

    @staticmethod
    def _connected(
        guest: str, resolver: AgentResolver, connections: set[asyncio.Task[None]]
    ) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            if writer.get_extra_info("peername")[0] != guest or len(connections) >= MAX_CONNECTIONS:
                writer.transport.abort()
                return
            connections.add(task)
            try:
                with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                    while await _exchange(reader, writer, resolver):
                        pass
            finally:
                connections.discard(task)
                writer.transport.abort() if writer.is_closing() else writer.close()

        return serve


async def _exchange(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, resolver: AgentResolver) -> bool:
    """One question and its answer over TCP (RFC 1035, 4.2.2); whether there may be another."""
    async with asyncio.timeout(IDLE_S):
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        data = await reader.readexactly(length)
    answer = resolver.at_once(data, udp=False)
    if isinstance(answer, Query):
        answer = await resolver.later(answer, udp=False)
    if answer is None:
        return False
    async with asyncio.timeout(IDLE_S):
        writer.write(struct.pack("!H", len(answer)) + answer)
        await writer.drain()
    return True

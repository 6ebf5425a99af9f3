"""Edge: asking the resolvers that the operator named, over UDP, and over TCP when the answer is too long.

Every question has its own socket, so its own random port, and its own random id (RFC 5452, 4 to 9); an answer that does
not fit its question is ignored and the wait goes on.
"""

from __future__ import annotations

import asyncio
import secrets
import struct
from collections.abc import Callable, Sequence

from nullbox.egress.config import Server
from nullbox.egress.dns.wire import UpstreamAnswer, parse_upstream, question
from nullbox.protocols.errors import ErrorCode, NullBoxError

TIMEOUT_S = 2.0
"""For one try with one resolver."""
ROUNDS = 2


class _Exchange(asyncio.DatagramProtocol):
    def __init__(self, identifier: int, name: str) -> None:
        self._identifier = identifier
        self._name = name
        self.answer: asyncio.Future[UpstreamAnswer] = asyncio.get_running_loop().create_future()

    def datagram_received(self, data: bytes, addr: object) -> None:
        answer = parse_upstream(data, self._identifier, self._name)
        if answer is not None and not self.answer.done():
            self.answer.set_result(answer)

    def error_received(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.cancel()


class Upstream:
    """A stub resolver client (RFC 1034, 5.3.1) over a list of servers, tried in order.

    servers: the list, or who knows it at the time of a question.
    """

    def __init__(self, servers: Sequence[Server] | Callable[[], Sequence[Server]], timeout: float = TIMEOUT_S) -> None:
        self._servers = servers if callable(servers) else lambda: servers
        self._timeout = timeout

    async def ask(self, name: str) -> UpstreamAnswer:
        """The A records of `name`, or what upstream says instead.

        Raises:
            NullBoxError: `unavailable`, none is configured or none answered.
        """
        failures = []
        for server in tuple(self._servers()) * ROUNDS:
            try:
                async with asyncio.timeout(self._timeout):
                    answer = await self._udp(server, name)
                    return await self._tcp(server, name) if answer.truncated else answer
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.CancelledError) as error:
                current = asyncio.current_task()
                if isinstance(error, asyncio.CancelledError) and current is not None and current.cancelling():
                    raise
                failures.append(f"{server.host}:{server.port} ({error or type(error).__name__})")
        tried = ", ".join(dict.fromkeys(failures)) or "none is configured"
        raise NullBoxError(ErrorCode.UNAVAILABLE, f"no upstream resolver answered: {tried}")

    async def _udp(self, server: Server, name: str) -> UpstreamAnswer:
        identifier = secrets.randbelow(0x10000)
        loop = asyncio.get_running_loop()
        transport, exchange = await loop.create_datagram_endpoint(
            lambda: _Exchange(identifier, name), remote_addr=(server.host, server.port)
        )
        try:
            transport.sendto(question(identifier, name))
            return await exchange.answer
        finally:
            transport.close()

    async def _tcp(self, server: Server, name: str) -> UpstreamAnswer:
        identifier = secrets.randbelow(0x10000)
        message = question(identifier, name)
        reader, writer = await asyncio.open_connection(server.host, server.port)
        try:
            writer.write(struct.pack("!H", len(message)) + message)
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answer = parse_upstream(await reader.readexactly(length), identifier, name)
        finally:
            writer.close()
        if answer is None:
            raise OSError("an answer over TCP that does not fit the question")
        return answer

"""Edge: asking the resolvers that the operator named, over UDP, and over TCP when the answer is too long.

Every question has its own socket, so its own random port, and its own random id (RFC 5452, 4 to 9); an answer that does
not fit its question is ignored and the wait goes on.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import struct
from collections.abc import Callable, Sequence

from nullbox.egress.config import Server
from nullbox.egress.dns.wire import UpstreamAnswer, parse_upstream, question
from nullbox.protocols.errors import ErrorCode, NullBoxError

TIMEOUT_S = 2.0
"""For one try with one resolver."""
ROUNDS = 2
MAX_ANSWER = 4096
"""Octets; more than any resolver sends by UDP, told that we take `wire.EDNS_SIZE`."""


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
        answer: asyncio.Future[UpstreamAnswer] = loop.create_future()
        # By hand: a transport of asyncio's takes five turns of the loop more, and each question needs its own socket.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            link.setblocking(False)
            link.connect((server.host, server.port))
            link.send(question(identifier, name))
            loop.add_reader(link, _receive, link, identifier, name, answer)
            try:
                return await answer
            finally:
                loop.remove_reader(link)

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


def _receive(link: socket.socket, identifier: int, name: str, answer: asyncio.Future[UpstreamAnswer]) -> None:
    """Take what has come; what does not answer the question is as good as nothing."""
    try:
        found = parse_upstream(link.recv(MAX_ANSWER), identifier, name)
    except BlockingIOError:
        return
    except OSError as error:
        if not answer.done():
            answer.set_exception(error)
        return
    if found is not None and not answer.done():
        answer.set_result(found)

"""Serve JSON-RPC lines on Unix sockets and on character devices. Effects: sockets, descriptors, asyncio.

    server = LineServer(handle)                # async def handle(call: Call) -> Any
    await server.listen(path, mode=0o600)      # as many paths as you like
    await server.serve_port(fd, channel="virtio-serial")
    …
    await server.close()

All methods are to be called in the running loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
import struct
from collections import Counter
from pathlib import Path

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.call import Deadline, Handler, ParameterNames, Peer
from nullbox.rpc.limits import Limits
from nullbox.rpc.port import PortTransport
from nullbox.rpc.session import Session

log = logging.getLogger(__name__)

SO_PEERGROUPS = 59
"""unix(7), Linux 4.13; missing from the socket module. The same number on x86-64 and arm64."""

BACKLOG = 512
"""Connections that wait to be accepted. Beyond it a client that does not block is turned away, so all that the
limits allow may come at once."""

SUN_PATH_MAX = 107
"""Longest path of a Unix socket in bytes (unix(7): 108 with its NUL)."""


class LineServer:
    """See the module.

    handler: serves the calls of all listeners; `call.peer.channel` tells which one a call came in by.
    deadline: seconds for a call; `limits.deadline` for all, unless given.
    names: parameter names of a method, to accept parameters by position; not accepted unless given.
    """

    def __init__(
        self,
        handler: Handler,
        *,
        limits: Limits = Limits(),  # noqa: B008 - frozen
        deadline: Deadline | None = None,
        names: ParameterNames | None = None,
    ) -> None:
        self.handler = handler
        self.limits = limits
        self.deadline: Deadline = deadline or (lambda call: limits.deadline)
        self.names: ParameterNames = names or (lambda method: None)
        self._listeners: dict[Path, tuple[asyncio.Server, int]] = {}
        self._sessions: set[Session] = set()
        self._ports: list[PortTransport] = []
        self._others: list[asyncio.Server] = []
        self._per_uid: Counter[int | None] = Counter()

    @property
    def connections(self) -> int:
        """Open connections, ports not counted."""
        return len(self._sessions)

    async def listen(self, path: Path, *, mode: int = 0o600, channel: str = "unix") -> None:
        """Serve a Unix stream socket. A stale socket file is replaced, one that is in use is not.

        Raises:
            NullBoxError: `conflict`, someone answers on that path; `invalid`, the path is too long.
            OSError: it cannot be made there.
        """
        listener = _bind(path, mode)
        server = await asyncio.get_running_loop().create_unix_server(
            lambda: self._session(channel), sock=listener, backlog=BACKLOG
        )
        self._listeners[path] = (server, path.stat().st_ino)

    async def listen_vsock(self, port: int, *, channel: str = "vsock") -> None:
        """Serve a vsock port of this machine: for its host, and whoever else has a context id (`Peer.cid`).

        Raises:
            OSError: there is no vsock here, or the port is in use.
        """
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        try:
            listener.setblocking(False)
            listener.bind((socket.VMADDR_CID_ANY, port))
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
        server = await asyncio.get_running_loop().create_server(lambda: self._session(channel), sock=listener)
        self._others.append(server)

    async def unlisten(self, path: Path) -> None:
        """Stop to accept on that path and remove it. Open connections stay; use their channel to tell them."""
        server, inode = self._listeners.pop(path)
        server.close()
        with contextlib.suppress(OSError):
            if path.stat().st_ino == inode:
                path.unlink()

    async def serve_port(self, fd: int, *, channel: str = "virtio-serial", limits: Limits | None = None) -> None:
        """Serve an open bidirectional descriptor that has no end of file: one client after the other, for ever.

        Takes the descriptor over and closes it with the server.
        """
        peer = Peer(channel=channel)
        session = Session(self, lambda transport: peer, endless=True, limits=limits)
        self._ports.append(PortTransport(asyncio.get_running_loop(), fd, session))

    async def close(self, *, error: NullBoxError | None = None) -> None:
        """Stop listening, end every connection (with `error` as its last line, if given), remove the sockets."""
        for path in list(self._listeners):
            await self.unlisten(path)
        for server in self._others:
            server.close()
        self._others.clear()
        for session in list(self._sessions):
            session.close(error)
        for port in self._ports:
            port.abort()
        self._ports.clear()
        await asyncio.sleep(0)

    def disconnect(self, channel: str) -> None:
        """Close the connections that came in by that channel."""
        for session in list(self._sessions):
            if session.peer.channel == channel:
                session.close()

    def _session(self, channel: str) -> Session:
        def admit(transport: asyncio.BaseTransport) -> Peer:
            peer = peer_of(transport.get_extra_info("socket"), channel)
            self._sessions.add(session)
            self._per_uid[peer.uid] += 1
            if (message := self._too_many(peer)) is not None:
                log.warning("refused a connection of uid %s: %s", peer.uid, message)
                # After connection_made, when the session has its transport and its peer.
                refusal = NullBoxError(ErrorCode.UNAVAILABLE, message)
                asyncio.get_running_loop().call_soon(session.close, refusal)
            return peer

        session = Session(self, admit, on_closed=self._closed)
        return session

    def _too_many(self, peer: Peer) -> str | None:
        if len(self._sessions) > self.limits.connections:
            return f"all {self.limits.connections} connections are in use; try again later"
        if self._per_uid[peer.uid] > self.limits.connections_per_uid:
            return f"uid {peer.uid} has all its {self.limits.connections_per_uid} connections open; close some"
        return None

    def _closed(self, session: Session) -> None:
        self._sessions.discard(session)
        uid = session.peer.uid
        self._per_uid[uid] -= 1
        if self._per_uid[uid] <= 0:
            del self._per_uid[uid]


def peer_of(sock: socket.socket, channel: str) -> Peer:
    """Who connected, from the kernel: the identity at the time of `connect` (unix(7)), or the machine (vsock(7))."""
    if sock.family == socket.AF_VSOCK:
        return Peer(channel=channel, cid=sock.getpeername()[0])
    credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, gid = struct.unpack("3i", credentials)
    groups: frozenset[int] = frozenset()
    with contextlib.suppress(OSError):
        raw = sock.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * 1024)
        groups = frozenset(value for (value,) in struct.iter_unpack("I", raw))
    return Peer(pid, uid, gid, groups, channel)


def _bind(path: Path, mode: int) -> socket.socket:
    if len(os.fsencode(path)) > SUN_PATH_MAX:
        message = f"socket path {path} has {len(os.fsencode(path))} bytes; Unix sockets allow {SUN_PATH_MAX}"
        raise NullBoxError(ErrorCode.INVALID, message)
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.lstat().st_mode):
            if _answers(path):
                raise NullBoxError(ErrorCode.CONFLICT, f"another process serves {path}; stop it first")
            path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        listener.setblocking(False)
        listener.bind(str(path))
        # Nobody can connect before listen(), so there is no moment with the wrong mode.
        path.chmod(mode)
        listener.listen(BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError:
            return True
        return True

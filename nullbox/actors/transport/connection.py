"""One connection between two mailboxes: a SOCK_SEQPACKET socket with the identity of the process behind it.

An edge module: it makes the system calls.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from nullbox.actors.transport.packet import Assembler

if TYPE_CHECKING:
    from nullbox.actors.transport.peer import Peer

_CREDENTIALS = struct.Struct("iII")
BACKLOG = 4096
"""Connections that may wait to be accepted; the kernel caps it at net.core.somaxconn."""


class Connection:
    """A connected socket. `peer` is the other mailbox, verified; None until it has greeted."""

    __slots__ = ("assembler", "busy", "fd", "peer", "pid", "sock", "turns", "uid")

    def __init__(self, sock: socket.socket, peer: Peer | None) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.peer = peer
        self.pid, self.uid = credentials(sock)
        self.assembler = Assembler()
        self.busy = False
        """Several packets were waiting when it was read last, so it pays to try for more."""
        self.turns = 0
        """How often it was read."""


def credentials(sock: socket.socket) -> tuple[int, int]:
    """pid and uid of the process that connected, or that listens, as the kernel saw it then (unix(7))."""
    raw = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _gid = _CREDENTIALS.unpack(raw)
    return pid, uid


def listen(path: Path) -> socket.socket:
    """A listening socket at `path`; one that is there already is of a dead process, and is replaced.

    It appears under its name only when it listens: a name that can be seen can be connected to.
    """
    hidden = path.with_name("." + path.name)
    hidden.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.bind(str(hidden))
        sock.listen(BACKLOG)
        hidden.rename(path)
    except OSError:
        sock.close()
        raise
    return sock


def connect(path: Path) -> socket.socket:
    """A socket connected to the mailbox at `path`.

    Raises:
        OSError: ENOENT or ECONNREFUSED where nobody listens, EAGAIN where its backlog is full.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    try:
        sock.connect(str(path))
    except OSError:
        sock.close()
        raise
    return sock

"""Where a mailbox is, and what it knows of another. Data, no effects."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from thespian.actors import ActorAddress

from nullbox.actors.transport.connection import Connection
from nullbox.actors.transport.outbox import Outbox
from nullbox.protocols.messages import Address


@dataclass(frozen=True)
class Place:
    """Where a mailbox lives, and among whom.

    directory: the system's sockets.
    name: the mailbox's own, see `naming`.
    parent: the mailbox of the process that forked this one, None for the launcher.
    admin_pid: the process that may be called `admin`; 0 before it exists.
    lock: descriptor of the directory's lock, held while any process of the system lives.
    """

    directory: Path
    name: str
    parent: Address | None
    admin_pid: int
    lock: int


@dataclass(slots=True)
class Peer:
    """Another mailbox. `awaited`: a child that has not connected yet; what it is told waits in its outbox."""

    address: Address
    thespian: ActorAddress
    connection: Connection | None = None
    outbox: Outbox = field(default_factory=Outbox)
    awaited: bool = False
    retrying: bool = False
    blocked: bool = False
    """The kernel's buffer is full; it says when there is room again."""

"""A mailbox: a listening socket, the connections to other mailboxes, and who is behind them.

An edge module: it makes the system calls (unix(7)). One instance belongs to one thread. What arrives and what is
lost goes to the methods that subclasses fill in.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
from functools import partial

from thespian.actors import ActorAddress

from nullbox.actors.transport import connection, naming, packet, poller
from nullbox.actors.transport.connection import Connection
from nullbox.actors.transport.peer import Peer, Place
from nullbox.protocols.messages import Address

log = logging.getLogger(__name__)

READS_PER_TURN = 32
"""Packets taken from one connection before the others get their turn."""
WHOLE = frozenset({packet.Kind.MESSAGE.value, packet.Kind.SYSTEM.value})
"""First bytes of packets that hold a whole message."""
TOO_LONG = packet.MAX_PACKET + 1
PROBE_EVERY = 16
"""Every so many reads of a connection, try for a second packet."""
MAX_STRANGERS = 64
"""Connections that may be open without having said their name; beyond it the oldest is closed."""
MAX_FRAGMENTS = 2 * packet.MAX_MESSAGE
"""Bytes of unfinished messages held for all peers together; beyond it the peer that sends more is cut off."""
TRANSIENT = frozenset({errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""Errors that say nothing about the peer, and pass."""
RETRY_SECONDS = 0.01
"""How soon to try again a peer whose backlog is full, and accepting when descriptors have run out."""


class Mailbox:
    """Listens, connects, verifies, reads. Knows no message."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = place.name
        self.address = Address(place.name)
        self.admin_pid = place.admin_pid
        self.poller = poller.Poller()
        self.refused_connections = 0
        self._pid = os.getpid()
        self._uid = os.geteuid()
        self._path = place.directory / place.name
        self._peers: dict[str, Peer] = {}
        self._connections: dict[int, Connection] = {}
        self._strangers: dict[int, Connection] = {}
        self._buffer = bytearray(packet.MAX_PACKET + 1)
        self._view = memoryview(self._buffer)
        self._listener = connection.listen(self._path)
        self.poller.register(self._listener.fileno(), poller.READABLE, lambda _events: self._accept())

    # --- for subclasses --------------------------------------------------------------------------------

    def _arrived(self, peer: Peer, kind: int, body: bytes | memoryview) -> None:
        """A whole message. `body` is valid during the call."""
        raise NotImplementedError

    def _flush(self, peer: Peer) -> None:
        """The peer can take more."""
        raise NotImplementedError

    def _forget(self, peer: Peer) -> None:
        """The peer is gone."""
        raise NotImplementedError

    # --- connecting ------------------------------------------------------------------------------------

    def expect(self, address: Address) -> None:
        """This child will connect: keep what it is told until then."""
        self._peers[address.name] = Peer(address, ActorAddress(address), awaited=True)

    def greet(self, address: Address) -> bool:
        """Connect without having anything to say, so that the other side can flush its outbox."""
        return self._open(address) is not None

    def _open(self, target: Address) -> Peer | None:
        peer = Peer(target, ActorAddress(target))
        try:
            sock = connection.connect(self.place.directory / target.name)
        except OSError as error:
            if error.errno in TRANSIENT:
                self._peers[target.name] = peer
                self._retry(peer)
                return peer
            if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                log.warning("cannot connect to %s: %s", target.name, error)
            return None
        return peer if self._adopt(sock, peer) else None

    def _adopt(self, sock: socket.socket, peer: Peer) -> bool:
        """Verify who listens, greet, and use the connection for this peer."""
        conn = Connection(sock, peer)
        reason = self._objection(peer.address.name, conn)
        if reason is None:
            try:
                sock.send(packet.hello(self.name))
            except OSError as error:
                reason = str(error)
        if reason is not None:
            log.warning("not talking to %s: %s", peer.address.name, reason)
            sock.close()
            return False
        peer.connection = conn
        self._peers[peer.address.name] = peer
        self._add(conn)
        return True

    def _retry(self, peer: Peer) -> None:
        """The peer's backlog is full (it is stopped, or very busy), or descriptors or memory have run out: try again
        until it works, or the peer is gone."""
        if not peer.retrying:
            peer.retrying = True
            self.poller.after(RETRY_SECONDS, lambda: self._reconnect(peer))

    def _reconnect(self, peer: Peer) -> None:
        peer.retrying = False
        if peer.connection is not None or self._peers.get(peer.address.name) is not peer:
            return
        try:
            sock = connection.connect(self.place.directory / peer.address.name)
        except OSError as error:
            if error.errno in TRANSIENT:
                self._retry(peer)
            else:
                self._forget(peer)
            return
        if self._adopt(sock, peer):
            self._flush(peer)
        else:
            self._forget(peer)

    # --- being connected to ----------------------------------------------------------------------------

    def _objection(self, name: str, conn: Connection) -> str | None:
        return naming.is_acceptable(name, conn.pid, conn.uid, admin_pid=self.admin_pid, own_uid=self._uid)

    def _add(self, conn: Connection) -> None:
        self._connections[conn.fd] = conn
        self.poller.register(conn.fd, poller.READABLE, partial(self._read, conn))

    def _accept(self) -> None:
        for _ in range(READS_PER_TURN):
            try:
                sock, _nobody = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # EMFILE, ENFILE, ENOMEM: accepting at once again would spin
                log.warning("cannot accept a connection: %s", error)
                fd = self._listener.fileno()
                self.poller.modify(fd, 0)
                self.poller.after(RETRY_SECONDS, partial(self.poller.modify, fd, poller.READABLE))
                return
            sock.setblocking(False)
            conn = Connection(sock, None)
            if conn.uid != self._uid:
                self._refuse(conn, f"uid {conn.uid} is not {self._uid}")
                sock.close()
                continue
            self._add(conn)
            self._strangers[conn.fd] = conn
            if len(self._strangers) > MAX_STRANGERS:
                self._drop(next(iter(self._strangers.values())))

    def _refuse(self, conn: Connection, reason: str) -> None:
        self.refused_connections += 1
        if self.refused_connections & (self.refused_connections - 1) == 0:  # the 1st, 2nd, 4th, 8th …
            log.warning("refused a connection of pid %d: %s", conn.pid, reason)

    def _read(self, conn: Connection, events: int = poller.READABLE) -> bool:
        """Take packets, up to `READS_PER_TURN`; False where the connection has nothing (more) to read.

        Trying for a packet that is not there costs as much as taking one. So only one is taken, unless there were
        several the last time; now and then a second is tried for, to find out.
        """
        if events & poller.WRITABLE:
            if conn.peer is not None and conn.peer.connection is conn:
                self._flush(conn.peer)
            if events == poller.WRITABLE:
                return False
        conn.turns += 1
        limit = READS_PER_TURN if conn.busy or conn.turns % PROBE_EVERY == 0 else 1
        conn.busy = False
        for number in range(limit):
            try:
                size = conn.sock.recv_into(self._buffer)
            except BlockingIOError:
                return False
            except ConnectionResetError:  # it closed with packets of ours unread; what it sent before is still there
                continue
            except OSError:
                size = 0
            if size == 0:
                self._drop(conn)
                return False
            peer = conn.peer
            if peer is not None and self._buffer[0] in WHOLE and not conn.assembler.parts and size < TOO_LONG:
                self._arrived(peer, self._buffer[0], self._view[1:size])  # nearly all that ever comes
            elif not self._packet(conn, self._view[:size]):
                return False
            conn.busy = number > 0
        return True

    def _packet(self, conn: Connection, data: memoryview) -> bool:
        try:
            if conn.peer is None:
                self._hello(conn, bytes(data))
                return True
            if len(data) > packet.MAX_PACKET:
                raise packet.PacketError("a packet larger than any of ours")
            whole = conn.assembler.feed(data)
            if conn.assembler.size and sum(c.assembler.size for c in self._connections.values()) > MAX_FRAGMENTS:
                raise packet.PacketError(f"more than {MAX_FRAGMENTS} bytes of unfinished messages")
        except packet.PacketError as error:
            self._refuse(conn, str(error))
            self._drop(conn)
            return False
        if whole is not None:
            self._arrived(conn.peer, *whole)
        return True

    def _hello(self, conn: Connection, data: bytes) -> None:
        name = packet.parse_hello(data)
        reason = self._objection(name, conn)
        if reason is not None:
            raise packet.PacketError(f"it claims to be {name[:80]!r}: {reason}")
        del self._strangers[conn.fd]
        peer = self._peers.get(name)
        if peer is None:
            peer = self._peers[name] = Peer(Address(name), ActorAddress(Address(name)))
        conn.peer = peer
        if peer.connection is None:
            peer.connection, peer.awaited = conn, False
            self._flush(peer)

    # --- ending ----------------------------------------------------------------------------------------

    def _drop(self, conn: Connection) -> None:
        """Close a connection; what its peer did not get is reported."""
        if self._connections.pop(conn.fd, None) is None:
            return
        self._strangers.pop(conn.fd, None)
        self.poller.unregister(conn.fd)
        conn.sock.close()
        if conn.peer is not None and conn.peer.connection is conn:
            self._forget(conn.peer)

    def _broken(self, conn: Connection) -> None:
        """Sending failed, so the other side has closed: take what it sent before, then close too."""
        while conn.fd in self._connections and self._read(conn):
            pass
        self._drop(conn)

    def absorb(self, name: str) -> None:
        """Take everything that a process which has ended left in our queues, so that its last words come before
        the news of its end."""
        self._accept()
        for conn in [*self._strangers.values(), *self._connections.values()]:
            while (
                conn.fd in self._connections
                and (conn.peer is None or conn.peer.address.name == name)
                and self._read(conn)
            ):
                pass

    def bury(self, name: str) -> None:
        """The process of this mailbox is dead: forget it and remove its socket."""
        for conn in list(self._connections.values()):
            if conn.peer is not None and conn.peer.address.name == name:
                self._drop(conn)
        peer = self._peers.get(name)
        if peer is not None:
            self._forget(peer)
        (self.place.directory / name).unlink(missing_ok=True)

    def close(self) -> None:
        """Close everything and remove the socket. In a forked child: only close, the socket is the parent's."""
        for conn in self._connections.values():
            conn.sock.close()
        self._connections.clear()
        self._strangers.clear()
        self._peers.clear()
        self.poller.close()
        self._listener.close()
        if os.getpid() == self._pid:
            self._path.unlink(missing_ok=True)

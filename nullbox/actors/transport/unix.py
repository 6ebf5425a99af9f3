"""The transport: what Thespian asks of one, over AF_UNIX SOCK_SEQPACKET (unix(7)).

An edge module: it makes the system calls. One instance is one mailbox and belongs to one thread; `call` is the
only method for other threads. Thespian's interface is the section at the end; its names are Thespian's.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from thespian.actors import ActorAddress
from thespian.system import transport as thespian_transport

from nullbox.actors.transport import connection, naming, packet, poller, system_messages
from nullbox.actors.transport.connection import Connection
from nullbox.actors.transport.outbox import MAX_MESSAGES, Delivery, Outbox
from nullbox.protocols import codec
from nullbox.protocols.codec import CodecError
from nullbox.protocols.messages import Address

log = logging.getLogger(__name__)

READS_PER_TURN = 32
"""Packets taken from one connection before the others get their turn."""
MAX_STRANGERS = 64
"""Connections that may be open without having said their name; beyond it the oldest is closed."""
RETRY_SECONDS = 0.01
"""How soon to try again a peer whose backlog is full, and accepting when descriptors have run out."""

Item: TypeAlias = tuple[Any, Address] | thespian_transport.ReceiveEnvelope | Callable[[], object]


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


class UnixTransport:
    """One mailbox."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.name = place.name
        self.address = Address(place.name)
        self.myAddress = ActorAddress(self.address)
        self.admin_pid = place.admin_pid
        self._pid = os.getpid()
        self._uid = os.geteuid()
        self._path = place.directory / place.name
        self.poller = poller.Poller()
        self.receiver: Callable[[Any, Address], object] | None = None
        """Takes NullBox's messages; Thespian's go to the handler given to `run`."""
        self.on_undelivered: Callable[[Address, str, Delivery, int], object] | None = None
        """Told of every message that will not arrive: target, type, why, how many."""
        self.malformed = 0
        """Messages of verified peers that could not be decoded."""
        self.refused_connections = 0
        self.lost_log_records = 0
        self._peers: dict[str, Peer] = {}
        self._connections: dict[int, Connection] = {}
        self._strangers: dict[int, Connection] = {}
        self._inbox: deque[Item] = deque()
        self._stop: thespian_transport.Thespian__Run__Result | None = None
        self._buffer = bytearray(packet.MAX_PACKET + 1)
        self._view = memoryview(self._buffer)
        self._addresses: Any = None
        self._listener = connection.listen(self._path)
        self.poller.register(self._listener.fileno(), poller.READABLE, lambda _events: self._accept())

    # --- sending ---------------------------------------------------------------------------------------

    def tell(self, target: Address, message: Any) -> Delivery:
        """Send one of NullBox's messages. Never blocks.

        Raises:
            CodecError: it cannot be encoded.
        """
        body = codec.encode(message)
        return self.send(target, packet.Kind.MESSAGE, body, type(message).__name__)

    def send(self, target: Address, kind: packet.Kind, body: bytes, label: str) -> Delivery:
        if target.name == self.name:
            delivery = self._send_to_self(kind, body)
        else:
            delivery = self._send_to_peer(target, kind, body, label)
        if delivery is not Delivery.ACCEPTED:
            self._report(target, label, delivery, 1)
        return delivery

    def _send_to_self(self, kind: packet.Kind, body: bytes) -> Delivery:
        if len(self._inbox) >= MAX_MESSAGES:
            return Delivery.REFUSED
        self._take(kind, body, self.address, self.myAddress)
        return Delivery.ACCEPTED

    def _send_to_peer(self, target: Address, kind: packet.Kind, body: bytes, label: str) -> Delivery:
        for _attempt in range(2):  # the second: the peer closed an idle connection, and is there still
            peer = self._peers.get(target.name)
            if peer is None:
                peer = self._open(target)
                if peer is None:
                    return Delivery.UNREACHABLE
            conn = peer.connection
            if conn is not None and not peer.outbox and len(body) <= packet.FRAGMENT:
                try:
                    conn.sock.send(bytes((kind,)) + body)
                    return Delivery.ACCEPTED
                except BlockingIOError:
                    pass
                except OSError:
                    self._drop(conn)
                    continue
            if not peer.outbox.offer(label, packet.split(kind, body)):
                return Delivery.REFUSED
            self._flush(peer)
            return Delivery.ACCEPTED
        return Delivery.UNREACHABLE

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
        except BlockingIOError:
            self._peers[target.name] = peer
            self._retry(peer)
            return peer
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ECONNREFUSED):
                log.warning("cannot connect to %s: %s", target.name, error)
            return None
        return peer if self._adopt(sock, peer) else None

    def _adopt(self, sock: socket.socket, peer: Peer) -> bool:
        """Verify who listens, greet, and use the connection for this peer."""
        conn = Connection(sock, peer.address.name)
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
        """The peer's backlog is full (it is stopped, or very busy): try again until it is not, or is gone."""
        if peer.retrying:
            return
        peer.retrying = True

        def again() -> None:
            peer.retrying = False
            if peer.connection is not None or self._peers.get(peer.address.name) is not peer:
                return
            try:
                sock = connection.connect(self.place.directory / peer.address.name)
            except BlockingIOError:
                self._retry(peer)
                return
            except OSError:
                self._forget(peer)
                return
            if self._adopt(sock, peer):
                self._flush(peer)
            else:
                self._forget(peer)

        self.poller.after(RETRY_SECONDS, again)

    def _flush(self, peer: Peer) -> None:
        conn, outbox = peer.connection, peer.outbox
        if conn is None:
            return
        try:
            while (head := outbox.head()) is not None:
                conn.sock.send(head)
                outbox.sent()
        except BlockingIOError:
            self.poller.modify(conn.fd, poller.READABLE | poller.WRITABLE)
            return
        except OSError:
            self._drop(conn)
            return
        self.poller.modify(conn.fd, poller.READABLE)

    def _report(self, target: Address, label: str, delivery: Delivery, count: int) -> None:
        if label == "LogRecord":  # logging that one was lost would lose the next
            self.lost_log_records += count
        elif self.on_undelivered is not None:
            self.on_undelivered(target, label, delivery, count)

    def drain(self, seconds: float) -> bool:
        """Send what waits, for at most this long; tell whether all of it went. Receives nothing new meanwhile."""
        until = time.monotonic() + seconds
        while any(peer.outbox and not peer.awaited for peer in self._peers.values()):
            if time.monotonic() >= until:
                return False
            self.poller.wait(min(until, time.monotonic() + 0.05))
            for peer in list(self._peers.values()):
                if peer.outbox and peer.connection is not None:
                    self._flush(peer)
        return True

    # --- connections -----------------------------------------------------------------------------------

    def _objection(self, name: str, conn: Connection) -> str | None:
        return naming.is_acceptable(name, conn.pid, conn.uid, admin_pid=self.admin_pid, own_uid=self._uid)

    def _add(self, conn: Connection) -> None:
        self._connections[conn.fd] = conn
        self.poller.register(conn.fd, poller.READABLE, lambda events: self._ready(conn, events))

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

    def _ready(self, conn: Connection, events: int) -> None:
        if events & poller.WRITABLE:
            peer = self._peers.get(conn.peer or "")
            if peer is not None and peer.connection is conn:
                self._flush(peer)
        if events & ~poller.WRITABLE:
            self._read(conn)

    def _read(self, conn: Connection) -> bool:
        """Take up to `READS_PER_TURN` packets; False where the connection has nothing (more) to read."""
        for _ in range(READS_PER_TURN):
            try:
                size = conn.sock.recv_into(self._buffer)
            except BlockingIOError:
                return False
            except OSError:
                size = 0
            if size == 0:
                self._drop(conn)
                return False
            if not self._packet(conn, self._view[:size]):
                return False
        return True

    def _packet(self, conn: Connection, data: memoryview) -> bool:
        try:
            if conn.peer is None:
                self._hello(conn, bytes(data))
                return True
            if len(data) > packet.MAX_PACKET:
                raise packet.PacketError("a packet larger than any of ours")
            whole = conn.assembler.feed(data)
        except packet.PacketError as error:
            self._refuse(conn, str(error))
            self._drop(conn)
            return False
        if whole is not None:
            peer = self._peers.get(conn.peer)
            if peer is None:  # its other connection broke
                peer = self._peers[conn.peer] = Peer(Address(conn.peer), ActorAddress(Address(conn.peer)), conn)
            self._take(packet.Kind(whole[0]), whole[1], peer.address, peer.thespian)
        return True

    def _hello(self, conn: Connection, data: bytes) -> None:
        name = packet.parse_hello(data)
        reason = self._objection(name, conn)
        if reason is not None:
            raise packet.PacketError(f"it claims to be {name[:80]!r}: {reason}")
        del self._strangers[conn.fd]
        conn.peer = name
        peer = self._peers.get(name)
        if peer is None:
            self._peers[name] = Peer(Address(name), ActorAddress(Address(name)), conn)
        elif peer.connection is None:
            peer.connection, peer.awaited = conn, False
            self._flush(peer)

    def _take(self, kind: packet.Kind, body: bytes | memoryview, sender: Address, thespian: ActorAddress) -> None:
        """Decode a message into the inbox. What is malformed is counted, reported and forgotten."""
        try:
            if kind is packet.Kind.MESSAGE:
                self._inbox.append((codec.decode(body), sender))
            else:
                self._inbox.append(thespian_transport.ReceiveEnvelope(thespian, system_messages.decode(body)))
        except CodecError as error:
            self.malformed += 1
            if self.malformed & (self.malformed - 1) == 0:
                log.warning("malformed message from %s (%d so far): %s", sender.name, self.malformed, error)

    def _drop(self, conn: Connection) -> None:
        """Close a connection; what its peer did not get is reported."""
        if self._connections.pop(conn.fd, None) is None:
            return
        self._strangers.pop(conn.fd, None)
        self.poller.unregister(conn.fd)
        conn.sock.close()
        peer = self._peers.get(conn.peer or "")
        if peer is not None and peer.connection is conn:
            self._forget(peer)

    def _forget(self, peer: Peer) -> None:
        self._peers.pop(peer.address.name, None)
        lost = peer.outbox.abandon()
        for label in dict.fromkeys(lost):
            self._report(peer.address, label, Delivery.UNREACHABLE, lost.count(label))

    def absorb(self, name: str) -> None:
        """Take everything that a process which has ended left in our queues, so that its last words come before
        the news of its end."""
        self._accept()
        for conn in [*self._strangers.values(), *self._connections.values()]:
            while conn.fd in self._connections and conn.peer in (None, name) and self._read(conn):
                pass

    def bury(self, name: str) -> None:
        """The process of this mailbox is dead: forget it and remove its socket."""
        for conn in [each for each in self._connections.values() if each.peer == name]:
            self._drop(conn)
        peer = self._peers.get(name)
        if peer is not None:
            self._forget(peer)
        (self.place.directory / name).unlink(missing_ok=True)

    # --- receiving -------------------------------------------------------------------------------------

    def enqueue(self, action: Callable[[], object]) -> None:
        """Run `action` after all that has been received so far."""
        self._inbox.append(action)

    def run(self, handler: Any, maximumDuration: timedelta | float | None = None) -> Any:
        """Thespian's main loop. `handler` takes envelopes until it returns something false; None returns the first
        message to the caller; `TransmitOnly` only sends."""
        seconds = maximumDuration.total_seconds() if isinstance(maximumDuration, timedelta) else maximumDuration
        if handler is thespian_transport.TransmitOnly:
            return 0 if self.drain(1.0 if seconds is None else seconds) else 1
        until = None if seconds is None else time.monotonic() + seconds
        inbox, due = self._inbox, self.poller.run_due
        self._stop = None
        while self._stop is None:
            due()
            if inbox:
                item = inbox.popleft()
                if isinstance(item, tuple):
                    if self.receiver is not None:
                        self.receiver(*item)
                        continue
                    item = thespian_transport.ReceiveEnvelope(ActorAddress(item[1]), item[0])
                elif not isinstance(item, thespian_transport.ReceiveEnvelope):
                    item()
                    continue
                if handler is None:
                    return item
                answer = thespian_transport.Thespian__Run_HandlerResult(handler(item))
                if not answer:
                    return answer
                continue
            if until is not None and time.monotonic() >= until:
                return thespian_transport.Thespian__Run_Expired()
            self.poller.wait(until)
        return self._stop

    # --- ending ----------------------------------------------------------------------------------------

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

    # --- Thespian's interface, in its spelling ---------------------------------------------------------

    def scheduleTransmit(self, addressManager: Any, intent: Any, has_exclusive_flag: bool = False) -> None:
        """Send one of Thespian's intents.

        Raises:
            CannotPickleAddress: the target is a child that has not connected yet; Thespian keeps the intent.
            CodecError: the message cannot be encoded.
        """
        if not self.poller.on_own_thread():
            self.poller.call(self.scheduleTransmit, addressManager, intent)
            return
        target = intent.targetAddr
        if addressManager is not None:
            target, message = addressManager.prepMessageSend(target, intent.message)
            if isinstance(message, thespian_transport.SendStatus.BASE):
                intent.tx_done(thespian_transport.SendStatus.Sent)
                return
            if target is None:
                from thespian.system.addressManager import CannotPickleAddress

                raise CannotPickleAddress(intent.targetAddr)
            intent.changeTargetAddr(target)
            intent.changeMessage(message)
        message = intent.message
        if isinstance(message, thespian_transport.Thespian__UpdateWork):
            intent.tx_done(thespian_transport.SendStatus.Sent)
            return
        system = system_messages.is_system(message)
        kind = packet.Kind.SYSTEM if system else packet.Kind.MESSAGE
        body = system_messages.encode(message) if system else codec.encode(message)
        delivery = self.send(target.addressDetails, kind, body, type(message).__name__)
        intent.tx_done(_STATUS[delivery])

    def setAddressManager(self, manager: Any) -> None:
        self._addresses = manager

    def addWakeup(self, period: timedelta | float, payload: Any) -> None:
        from thespian.actors import WakeupMessage

        seconds = period.total_seconds() if isinstance(period, timedelta) else float(period)
        wakeup = thespian_transport.ReceiveEnvelope(self.myAddress, WakeupMessage(period, payload))
        self.poller.after(seconds, lambda: self._inbox.append(wakeup))

    def abort_run(self, drain: bool = False) -> None:
        self._stop = thespian_transport.Thespian__Run_Terminated()

    def deadAddress(self, addressManager: Any, address: ActorAddress) -> None:
        details = address.addressDetails
        if isinstance(details, Address):
            self.bury(details.name)

    def interrupt_wait(self, signal_shutdown: bool = False, check_children: bool = False) -> None:
        self.poller.wake()

    @staticmethod
    def getAdminAddr(capabilities: object) -> ActorAddress:
        return ActorAddress(Address(naming.ADMIN))

    def probeAdmin(self, address: ActorAddress) -> bool:
        """Whether this system has an administrator: the directory's lock keeps out those of others."""
        return self.admin_pid != 0

    def enableRXPauseFlowControl(self, enable: bool = True) -> None:
        """Nothing to do: receiving never pauses here."""

    def _updateStatusResponse(self, response: Any) -> None:
        for peer in self._peers.values():
            response.addKeyVal(f"outbox {peer.address.name}", len(peer.outbox))


_STATUS = {
    Delivery.ACCEPTED: thespian_transport.SendStatus.Sent,
    Delivery.REFUSED: thespian_transport.SendStatus.Failed,
    Delivery.UNREACHABLE: thespian_transport.SendStatus.DeadTarget,
}

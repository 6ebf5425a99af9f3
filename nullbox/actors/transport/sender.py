"""Sending: to oneself, at once where the kernel takes it, else through the peer's bounded outbox.

An edge module: it makes the system calls.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable

from nullbox.actors.transport import packet, poller
from nullbox.actors.transport.mailbox import TRANSIENT, Mailbox
from nullbox.actors.transport.outbox import Delivery
from nullbox.actors.transport.peer import Peer, Place
from nullbox.protocols.messages import Address

DRAIN_TURN = 0.01
"""Seconds between looks at peers that are not connected, while draining."""


class Sender(Mailbox):
    """A mailbox that sends. Nothing here blocks, `drain` excepted, which has a bound."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.on_undelivered: Callable[[Address, str, Delivery, int], object] | None = None
        """Told of every message that will not arrive: target, type, why, how many."""
        self.lost_log_records = 0

    def _to_self(self, kind: packet.Kind, body: bytes) -> Delivery:
        raise NotImplementedError

    def send(self, target: Address, kind: packet.Kind, body: bytes, label: str) -> Delivery:
        """Send the encoded message `body`; `label` names it in reports."""
        own = target.name == self.name
        delivery = self._to_self(kind, body) if own else self._to_peer(target, kind, body, label)
        if delivery is not Delivery.ACCEPTED:
            self._report(target, label, delivery, 1)
        return delivery

    def _to_peer(self, target: Address, kind: packet.Kind, body: bytes, label: str) -> Delivery:
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
                except OSError as error:
                    if error.errno not in TRANSIENT:
                        self._broken(conn)
                        continue
            if not peer.outbox.offer(label, packet.split(kind, body)):
                return Delivery.REFUSED
            if not peer.blocked:
                self._flush(peer)
            return Delivery.ACCEPTED
        return Delivery.UNREACHABLE

    def _flush(self, peer: Peer) -> None:
        conn, outbox = peer.connection, peer.outbox
        if conn is None:
            return
        blocked = False
        try:
            while (head := outbox.head()) is not None:
                conn.sock.send(head)
                outbox.sent()
        except OSError as error:
            if error.errno not in TRANSIENT:
                self._broken(conn)
                return
            blocked = True
        if blocked is not peer.blocked:
            peer.blocked = blocked
            self.poller.modify(conn.fd, poller.READABLE | (poller.WRITABLE if blocked else 0))

    def _forget(self, peer: Peer) -> None:
        self._peers.pop(peer.address.name, None)
        lost = peer.outbox.abandon()
        for label in dict.fromkeys(lost):
            self._report(peer.address, label, Delivery.UNREACHABLE, lost.count(label))

    def _report(self, target: Address, label: str, delivery: Delivery, count: int) -> None:
        if label == "LogRecord":  # logging that one was lost would lose the next
            self.lost_log_records += count
        elif self.on_undelivered is not None:
            self.on_undelivered(target, label, delivery, count)

    def drain(self, seconds: float) -> bool:
        """Send what waits, for at most this long; tell whether all of it went. Does nothing else meanwhile: no
        message is taken, no timer and no callback runs."""
        until = time.monotonic() + seconds
        while waiting := [peer for peer in self._peers.values() if peer.outbox and not peer.awaited]:
            left = until - time.monotonic()
            if left <= 0:
                return False
            poll = select.poll()
            for peer in waiting:
                if peer.connection is None:
                    self._reconnect(peer)
                if peer.connection is not None:
                    poll.register(peer.connection.fd, select.POLLOUT)
            poll.poll(min(left, DRAIN_TURN) * 1000)
            for peer in waiting:
                self._flush(peer)
        return True

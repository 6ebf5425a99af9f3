"""The transport: what Thespian asks of one, on top of a mailbox.

One instance is one mailbox and belongs to one thread. Thespian's interface is the last section; its names are
Thespian's, and so are the run results.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import Any, TypeAlias

from thespian.actors import ActorAddress, WakeupMessage, WatchMessage
from thespian.system import transport as thespian_transport
from thespian.system.addressManager import CannotPickleAddress

from nullbox.actors.transport import naming, packet, system_messages
from nullbox.actors.transport.outbox import MAX_MESSAGES, Delivery
from nullbox.actors.transport.peer import Peer, Place
from nullbox.actors.transport.poller import READABLE
from nullbox.actors.transport.sender import Sender
from nullbox.protocols import codec
from nullbox.protocols.codec import CodecError
from nullbox.protocols.messages import Address

log = logging.getLogger(__name__)

MESSAGE = packet.Kind.MESSAGE.value
HEAD = bytes((MESSAGE,))
ACCEPTED = Delivery.ACCEPTED
TURN = 64
"""Messages handled before the descriptors are looked at again, where more wait."""

Item: TypeAlias = tuple[Any, Address] | thespian_transport.ReceiveEnvelope | Callable[[], object]


class UnixTransport(Sender):
    """One mailbox, its inbox, and the loop that works it off."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.myAddress = ActorAddress(self.address)
        self.receiver: Callable[[Any, Address], object] | None = None
        """Takes NullBox's messages; Thespian's go to the handler given to `run`."""
        self.malformed = 0
        """Messages of verified peers that could not be decoded."""
        self.only_from: Address | None = None
        """The only mailbox that messages are taken from, where that is set."""
        self._watched: set[int] = set()
        self._self = Peer(self.address, self.myAddress)
        self._inbox: deque[Item] = deque()
        self._stop: thespian_transport.Thespian__Run__Result | None = None

    def tell(self, target: Address, message: Any) -> Delivery:
        """Send one of NullBox's messages. Never blocks.

        Raises:
            CodecError: it cannot be encoded.
        """
        body = codec.encode(message)
        peer = self._peers.get(target.name)
        if peer is not None and not peer.outbox.entries and len(body) <= packet.FRAGMENT:
            try:
                peer.connection.sock.send(HEAD + body)  # type: ignore[union-attr]  # AttributeError is caught
                return ACCEPTED
            except (OSError, AttributeError):  # the kernel's buffer is full, or the peer is not connected: in detail
                pass
        return self.send(target, packet.Kind.MESSAGE, body, type(message).__name__)

    def _to_self(self, kind: packet.Kind, body: bytes) -> Delivery:
        if len(self._inbox) >= MAX_MESSAGES:
            return Delivery.REFUSED
        self._arrived(self._self, kind, body)
        return Delivery.ACCEPTED

    def _arrived(self, peer: Peer, kind: int, body: bytes | memoryview) -> None:
        """Decode a message into the inbox. What is malformed is counted, reported and forgotten."""
        try:
            if self.only_from is not None and peer.address not in (self.only_from, self.address):
                raise CodecError(f"only {self.only_from.name} may send messages here")
            if kind == MESSAGE:
                self._inbox.append((codec.decode(body), peer.address))
            else:
                message = system_messages.decode(body)
                self._inbox.append(thespian_transport.ReceiveEnvelope(peer.thespian, message))
        except CodecError as error:
            self.malformed += 1
            if self.malformed & (self.malformed - 1) == 0:  # the 1st, 2nd, 4th, 8th …
                log.warning("malformed from %s (%d so far): %s", peer.address.name, self.malformed, error)

    def enqueue(self, action: Callable[[], object]) -> None:
        """Run `action` after all that has been received so far."""
        self._inbox.append(action)

    def run(self, handler: Any, maximumDuration: timedelta | float | None = None) -> Any:
        """Thespian's main loop. `handler` takes envelopes until it returns something false; None returns the first
        message to the caller; `TransmitOnly` only sends. The duration is in seconds; None is for ever."""
        seconds = maximumDuration.total_seconds() if isinstance(maximumDuration, timedelta) else maximumDuration
        if handler is thespian_transport.TransmitOnly:
            return 0 if self.drain(1.0 if seconds is None else seconds) else 1
        until = None if seconds is None else time.monotonic() + seconds
        inbox, due, (timers, calls) = self._inbox, self.poller.run_due, self.poller.pending
        self._stop = None
        turn, over = TURN, False
        while self._stop is None:
            if timers or calls:
                due()
            if inbox and turn:
                turn -= 1
                result = self._handle(inbox.popleft(), handler)
                if result is not None:
                    return result
            elif inbox:
                turn = TURN
                if len(inbox) < MAX_MESSAGES:
                    self.poller.wait(0)
            elif over:
                return thespian_transport.Thespian__Run_Expired()
            else:
                turn = TURN
                self.poller.wait(until)
                over = until is not None and time.monotonic() >= until
        return self._stop

    def _handle(self, item: Item, handler: Any) -> Any:
        """Work off one item; a result ends the run."""
        if isinstance(item, tuple):
            if self.receiver is not None:
                self.receiver(*item)
                return None
            item = thespian_transport.ReceiveEnvelope(ActorAddress(item[1]), item[0])
        elif not isinstance(item, thespian_transport.ReceiveEnvelope):
            item()
            return None
        if handler is None:
            return item
        answer = thespian_transport.Thespian__Run_HandlerResult(handler(item))
        return None if answer else answer

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
        """Nothing to do: Thespian passes it along with every intent."""

    def addWakeup(self, period: timedelta | float, payload: Any) -> None:
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

    def set_watch(self, descriptors: list[int]) -> None:
        """What a plain Thespian actor returned as its `ThespianWatch`: tell it when one of these is readable."""
        for fd in self._watched - set(descriptors):
            self.poller.unregister(fd)
        for fd in set(descriptors) - self._watched:
            self.poller.register(fd, READABLE, partial(self._watch_ready, fd))
        self._watched = set(descriptors)

    def _watch_ready(self, fd: int, _events: int) -> None:
        self._inbox.append(thespian_transport.ReceiveEnvelope(self.myAddress, WatchMessage([fd])))
        self.poller.unregister(fd)  # until the actor has had its turn, and says anew what it watches
        self._watched.discard(fd)

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

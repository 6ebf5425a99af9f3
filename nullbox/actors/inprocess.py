"""The twin of `process_runtime` without processes: actors in the calling process, on Thespian's simpleSystemBase.

For tests. The rules are the same: messages go through the codec, an exception ends the actor, the parent learns
of it once, children end with their parents, a suspended peer refuses what does not fit. Time is virtual and jumps
to the next timer, unless descriptors are watched or other threads run: those need real time.
"""

from __future__ import annotations

import heapq
import itertools
import os
import select
import signal
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from thespian.actors import Actor, ActorAddress, ActorSystem

from nullbox.actors.base import ActorExit, BaseActor
from nullbox.actors.process import reason_from_status
from nullbox.actors.transport.outbox import Delivery, Outbox
from nullbox.actors.transport.poller import Timer
from nullbox.protocols import codec
from nullbox.protocols.messages import Address

OUTSIDE = Address("outside")
"""The mailbox of the test itself."""


@dataclass(frozen=True, slots=True)
class _Parcel:
    sender: Address
    body: bytes


@dataclass(frozen=True, slots=True)
class _Ended:
    child: Address
    status: int


class _Shell(Actor):  # type: ignore[misc]
    """What Thespian sees: passes everything on to the world."""

    take: Callable[[object], None]

    def receiveMessage(self, message: object, sender: ActorAddress) -> None:
        self.take(message)


@dataclass(eq=False)
class _Cell:
    """One actor, its shell, and whom to tell when it ends."""

    address: Address
    thespian: ActorAddress
    parent: Address
    actor: BaseActor | None = None
    alive: bool = True
    suspended: Outbox | None = None
    watches: dict[int, Callable[[], object]] = field(default_factory=dict)


class World:
    """All actors of one test."""

    def __init__(self) -> None:
        self._system = ActorSystem("simpleSystemBase", transientUnique=True, logDefs=False)
        self._base = self._system._systemBase
        self._cells: dict[str, _Cell] = {}
        self._timers: list[tuple[float, int, Timer, _Cell]] = []
        self._order = itertools.count(1)
        self._calls: deque[tuple[_Cell, Callable[..., object], tuple[object, ...]]] = deque()
        self._lock = threading.Lock()
        self._strangers = set(threading.enumerate())
        """Threads that were there before: none of them is an actor's, so time need not be real for them."""
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.now = 0.0
        """Seconds, virtual."""
        self.mail: deque[tuple[Any, Address]] = deque()
        """What came for `OUTSIDE`."""
        self.ended: dict[Address, int] = {}
        """Wait status of actors that were made from outside and have ended."""

    # --- actors ----------------------------------------------------------------------------------------

    def make(self, actor_class: type[BaseActor], child_id: str, parent: Address = OUTSIDE) -> Address:
        """Make an actor. It waits for its Start, as a process would."""
        thespian = self._system.createActor(_Shell)
        cell = _Cell(Address(f"actor.{next(self._order)}.1"), thespian, parent)
        self._cells[cell.address.name] = cell
        shell = self._base.actorRegistry[thespian.actorAddressString].instance
        shell.take = lambda item: self._take(cell, item)
        runtime = CellRuntime(self, cell)

        def create() -> None:
            try:
                actor = actor_class()
                actor._attach(runtime, child_id)
            except Exception as error:
                stand_in = BaseActor()
                stand_in._attach(runtime, child_id)
                stand_in._crash("the actor's creation", error)
            cell.actor = actor

        self._run(cell, create)
        return cell.address

    def tell(self, sender: Address, target: Address, message: Any) -> Delivery:
        return self.post(sender, target, codec.encode(message), type(message).__name__)

    def post(self, sender: Address, target: Address, body: bytes, label: str) -> Delivery:
        if target == OUTSIDE:
            self.mail.append((codec.decode(body), sender))
            return Delivery.ACCEPTED
        cell = self._cells.get(target.name)
        if cell is None or not cell.alive:
            return Delivery.UNREACHABLE
        if cell.suspended is not None:
            if not cell.suspended.offer(f"{sender.name} {label}", [body]):
                return Delivery.REFUSED
            return Delivery.ACCEPTED
        self._base.actor_send(cell.thespian, cell.thespian, _Parcel(sender, body))
        return Delivery.ACCEPTED

    def suspend(self, address: Address) -> None:
        """As SIGSTOP: what it is told waits in a bounded outbox."""
        self._cells[address.name].suspended = Outbox()

    def resume(self, address: Address) -> None:
        cell = self._cells[address.name]
        outbox, cell.suspended = cell.suspended, None
        while outbox is not None and (body := outbox.head()) is not None:
            sender = Address(outbox.label().split()[0])
            outbox.sent()
            self.post(sender, address, body, "")

    def end(self, address: Address, status: int) -> None:
        """End an actor with this wait status (waitpid(2)), and its children by SIGKILL."""
        cell = self._cells.get(address.name)
        if cell is None or not cell.alive:
            return
        cell.alive = False
        cell.watches.clear()
        for child in [each for each in self._cells.values() if each.parent == address and each.alive]:
            if child.actor is None or not child.actor.survives_parent:
                self.end(child.address, signal.SIGKILL)
        if cell.parent == OUTSIDE:
            self.ended[address] = status
        elif (parent := self._cells[cell.parent.name]).alive:
            self._base.actor_send(parent.thespian, parent.thespian, _Ended(address, status))

    def parent_of(self, address: Address) -> Address | None:
        cell = self._cells.get(address.name)
        return cell.parent if cell is not None else None

    def children_of(self, parent: Address) -> list[Address]:
        return [Address(name) for name, cell in self._cells.items() if cell.parent == parent]

    # --- running ---------------------------------------------------------------------------------------

    def _take(self, cell: _Cell, item: object) -> None:
        if cell.actor is None or not cell.alive:
            return
        if isinstance(item, _Parcel):
            self._run(cell, cell.actor._receive, codec.decode(item.body), item.sender)
        elif isinstance(item, _Ended):
            self._run(cell, cell.actor._child_ended, item.child, reason_from_status(item.status))

    def _run(self, cell: _Cell, function: Callable[..., object], *arguments: object) -> None:
        if not cell.alive:
            return
        try:
            function(*arguments)
        except ActorExit as leaving:
            self.end(cell.address, leaving.status << 8)

    def settle(self) -> None:
        """Run until nothing is left to do at this point of time."""
        while True:
            self._base._runSends()
            if self._calls:
                cell, function, arguments = self._calls.popleft()
                self._run(cell, function, *arguments)
            elif not self._run_due():
                return

    def _run_due(self) -> bool:
        if not self._timers or self._timers[0][0] > self.now:
            return False
        _due, _order, timer, cell = heapq.heappop(self._timers)
        if timer.callback is not None:
            self._run(cell, timer.callback)
        return True

    def step(self, until: float) -> bool:
        """Settle, then move on to the next event, but not beyond `until`. False: nothing can happen before it."""
        self.settle()
        watches = {fd: cell for cell in self._cells.values() for fd in cell.watches}
        if watches or not self._strangers.issuperset(threading.enumerate()):
            return self._wait_really(watches, until)
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        if not self._timers or self._timers[0][0] > until:
            self.now = max(self.now, until)
            return False
        self.now = self._timers[0][0]
        self.settle()
        return True

    def _wait_really(self, watches: dict[int, _Cell], until: float) -> bool:
        due = min([until, *(entry[0] for entry in self._timers)])
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        for fd in watches:
            poll.register(fd, select.POLLIN)
        began = time.monotonic()
        ready = poll.poll(max(0.0, due - self.now) * 1000)
        self.now = min(self.now + time.monotonic() - began, due) if ready else due
        for fd, _events in ready:
            if fd == self._wake:
                os.eventfd_read(self._wake)
            elif (callback := watches[fd].watches.get(fd)) is not None:
                self._run(watches[fd], callback)
        self.settle()
        return self.now < until or bool(ready)

    def call(self, cell: _Cell, function: Callable[..., object], *arguments: object) -> bool:
        with self._lock:
            if self._wake < 0:
                return False
            self._calls.append((cell, function, arguments))
            os.eventfd_write(self._wake, 1)
            return True

    def after(self, cell: _Cell, seconds: float, callback: Callable[[], object]) -> Timer:
        timer = Timer(self.now + max(0.0, seconds), callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer, cell))
        return timer

    def close(self) -> None:
        self._system.shutdown()
        with self._lock:
            os.close(self._wake)
            self._wake = -1


class CellRuntime:
    """Implements `runtime.Runtime`."""

    def __init__(self, world: World, cell: _Cell) -> None:
        self._world = world
        self._cell = cell

    @property
    def address(self) -> Address:
        return self._cell.address

    @property
    def parent(self) -> Address:
        return self._cell.parent

    def tell(self, target: Address, message: Any) -> Delivery:
        delivery = self._world.tell(self.address, target, message)
        if not delivery and self._cell.actor is not None:
            self._cell.actor.undelivered(target, type(message).__name__, delivery, 1)
        return delivery

    def call(self, function: Callable[..., object], *arguments: object) -> bool:
        return self._world.call(self._cell, function, *arguments)

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        return self._world.after(self._cell, seconds, callback)

    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        self._cell.watches[fd] = callback

    def unwatch(self, fd: int) -> None:
        self._cell.watches.pop(fd, None)

    def spawn(self, actor_class: type[BaseActor], child_id: str) -> Address:
        return self._world.make(actor_class, child_id, self.address)

    def kill(self, address: Address) -> None:
        if self.is_child(address):
            self._world.end(address, signal.SIGKILL)

    def is_child(self, address: Address) -> bool:
        return self._world.parent_of(address) == self.address

    def children(self) -> list[Address]:
        return self._world.children_of(self.address)

    def flush(self, seconds: float) -> bool:
        return True

    def end(self, status: int) -> NoReturn:
        raise ActorExit(status)

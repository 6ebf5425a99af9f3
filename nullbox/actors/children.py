"""The child processes of one process, by the names of their mailboxes.

An edge module: it forks. For every child the owner learns exactly once that it ended, after all that the child
sent before.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from nullbox.actors import process
from nullbox.actors.process import Process
from nullbox.actors.transport import naming
from nullbox.actors.transport.poller import READABLE
from nullbox.actors.transport.unix import UnixTransport
from nullbox.protocols.messages import Address

SWEEPS = (0.0, 0.2, 1.0)
"""Seconds after a death at which sockets of dead processes are looked for: grandchildren die a little later."""


@dataclass(slots=True)
class Child:
    """`instance`: Thespian's number for it, None where Thespian was not asked. `connected`: it has said hello."""

    address: Address
    process: Process
    instance: int | None = None
    connected: bool = False


class Children:
    """Makes, kills and buries the children of the process that owns `transport`."""

    def __init__(self, transport: UnixTransport, on_end: Callable[[Child, int], object]) -> None:
        self._transport = transport
        self._on_end = on_end
        self._by_name: dict[str, Child] = {}

    def addresses(self) -> list[Address]:
        """The mailboxes of all that have not been buried."""
        return [child.address for child in self._by_name.values()]

    def get(self, address: Address) -> Child | None:
        return self._by_name.get(address.name)

    def spawn(
        self,
        main: Callable[[UnixTransport], object],
        *,
        kind: str = naming.ACTOR,
        instance: int | None = None,
        linked: bool = True,
        name: str | None = None,
    ) -> Child:
        """Run `main(its own transport)` in a new process. Its mailbox can be told things at once."""
        parent = self._transport
        number = naming.serial()

        def child_main() -> None:
            place = parent.place
            parent.close()
            for sibling in self._by_name.values():
                sibling.process.close()
            keep = [place.lock] if linked else []
            process.neutralise_descriptors(keep)
            own = name or naming.name(kind, os.getpid(), number)
            admin_pid = os.getpid() if own == naming.ADMIN else parent.admin_pid
            main(
                UnixTransport(
                    replace(place, name=own, parent=parent.address, admin_pid=admin_pid),
                )
            )

        made = process.fork(child_main, linked=linked)
        child = Child(Address(name or naming.name(kind, made.pid, number)), made, instance)
        if name == naming.ADMIN:
            parent.admin_pid = made.pid
        self._by_name[child.address.name] = child
        parent.expect(child.address)
        parent.poller.register(made.pidfd, READABLE, lambda _events: self._ended(child))
        return child

    def kill(self, address: Address, number: int = signal.SIGKILL) -> None:
        child = self._by_name.get(address.name)
        if child is not None:
            child.process.send_signal(number)

    def _ended(self, child: Child) -> None:
        status = child.process.reap()
        if status is None:  # the event was of another descriptor, which had this number a moment ago
            return
        self._transport.poller.unregister(child.process.pidfd)
        child.process.close()
        name = child.address.name
        self._transport.absorb(name)
        self._transport.bury(name)
        for seconds in SWEEPS:
            self._transport.poller.after(seconds, partial(sweep, self._transport))

        def tell_owner() -> None:
            del self._by_name[name]
            self._on_end(child, status)

        self._transport.enqueue(tell_owner)


def sweep(transport: UnixTransport) -> None:
    """Remove the sockets of processes that are gone, which they cannot do when they are killed."""
    for path in transport.place.directory.iterdir():
        pid = naming.owner_pid(path.name.lstrip("."), transport.admin_pid)
        if pid is not None and process.is_gone(pid):
            path.unlink(missing_ok=True)

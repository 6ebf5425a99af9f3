"""The process of one actor: Thespian's actor manager, corrected, and what starts it.

An edge module: it installs signal handlers. `run_actor` is what a forked child runs.
"""

from __future__ import annotations

import logging
import signal
from typing import Any

from thespian.actors import ActorAddress, ActorExitRequest
from thespian.system.actorManager import ActorManager
from thespian.system.messages.admin import PendingActorResponse
from thespian.system.messages.multiproc import EndpointConnected
from thespian.system.transport import TransmitIntent

from nullbox.actors import logs, process
from nullbox.actors.base import BaseActor
from nullbox.actors.children import Child
from nullbox.actors.process_runtime import ProcessRuntime
from nullbox.actors.thespian_fixes import Replicator
from nullbox.actors.threads import crash_with_threads
from nullbox.actors.transport import naming
from nullbox.actors.transport.unix import UnixTransport
from nullbox.protocols.messages import Address, Stop

ORDERS = (ActorExitRequest, PendingActorResponse)
"""Messages of Thespian's that an actor takes from its parent, the administrator and itself only."""

log = logging.getLogger(__name__)


class Manager(Replicator, ActorManager):  # type: ignore[misc]
    """Runs one actor. NullBox's messages go straight to a `BaseActor`; what is Thespian's goes through Thespian."""

    def __init__(
        self, actor_class: type, child_id: str, transport: UnixTransport, capabilities: dict[str, Any]
    ) -> None:
        parent = transport.place.parent
        assert parent is not None
        super().__init__(
            actor_class,
            None,
            transport,
            None,
            None,
            ActorAddress(parent),
            ActorAddress(Address(naming.ADMIN)),
            None,
            capabilities,
            None,
            None,
        )
        self._child_id = child_id
        self._superiors = (parent, Address(naming.ADMIN), transport.address)
        self.base: BaseActor | None = None

    def make_actor(self) -> None:
        if not issubclass(self._actorClass, BaseActor):
            self._createInstance()
            return
        runtime = ProcessRuntime(self.transport, self.children_processes, self._run_child)
        try:
            actor = self._actorClass()
            actor._attach(runtime, self._child_id)
        except BaseException as error:
            stand_in = BaseActor()
            stand_in._attach(runtime, self._child_id)
            stand_in._crash("the actor's creation", error)
        self.base = self.actorInst = actor
        actor._myRef = self
        self.transport.receiver = actor._receive
        self.transport.on_undelivered = lambda *report: actor._guarded("undelivered", actor.undelivered, *report)

    def announce(self, instance: int | None) -> None:
        """Let the parent know that this mailbox is open."""
        if instance is None:
            self.transport.greet(self._parentAddr.addressDetails)
        else:
            self._send_intent(TransmitIntent(self._parentAddr, EndpointConnected(instance)))

    def shut_down_softly(self) -> None:
        """What SIGTERM means: as if the parent had asked."""
        self.transport.enqueue(lambda: self._exit_requested("SIGTERM"))
        self.transport.poller.wake()

    def _exit_requested(self, why: str) -> object:
        if self.base is not None:
            self.base._receive(Stop(why), self.base.parent)
            return True
        return self._actorExit(ActorExitRequest())

    def _handleOneMessage(self, envelope: Any) -> object:
        if isinstance(envelope.message, ORDERS) and envelope.sender.addressDetails not in self._superiors:
            log.warning("%s may not send %s", envelope.sender.addressDetails.name, type(envelope.message).__name__)
            return True
        if self.base is not None and isinstance(envelope.message, ActorExitRequest):
            return self._exit_requested("the actor system ends")
        return super()._handleOneMessage(envelope)

    def _handle(self, envelope: Any) -> object:
        return self.handleMessages(envelope)

    def _notice(self, child: Child, status: int) -> None:
        if self.base is not None and child.instance is None:
            self.base._child_ended(child.address, process.reason_from_status(status))
        else:
            super()._notice(child, status)

    def _sayGoodbye(self) -> None:
        """Nothing to say: the parent sees the process end, once and with its status."""

    def _startChildActor(self, childAddr: ActorAddress, childClass: type, *_rest: object, **_options: object) -> None:
        start_child(self, childAddr, childClass, childClass.__name__)

    def _run_child(self, actor_class: type, child_id: str, transport: UnixTransport) -> None:
        run_actor(actor_class, child_id, transport, self.capabilities)


def start_child(owner: Replicator, local_address: ActorAddress, actor_class: type, child_id: str) -> None:
    """Make a child that Thespian asked for, under the number that Thespian gave it."""
    instance = local_address.addressDetails.addressInstanceNum
    owner.children_processes.spawn(
        lambda transport: run_actor(actor_class, child_id, transport, owner.capabilities, instance),
        instance=instance,
        linked=not getattr(actor_class, "survives_parent", False),
    )


def run_actor(
    actor_class: type,
    child_id: str,
    transport: UnixTransport,
    capabilities: dict[str, Any],
    instance: int | None = None,
) -> None:
    """Be this actor until it ends. `instance`: Thespian's number, where Thespian waits for it."""
    process.set_name(child_id)
    logs.forward(transport, lambda: Address(naming.ADMIN))
    manager = Manager(actor_class, child_id, transport, capabilities)
    signal.signal(signal.SIGTERM, lambda _number, _frame: manager.shut_down_softly())
    manager.make_actor()
    if manager.actorInst is None:
        process.end(process.EXIT_CRASH)
    if manager.base is not None:
        crash_with_threads(manager.base)
    manager.announce(instance)
    try:
        transport.run(manager.handleMessages)
    except Exception as error:
        if manager.base is None:
            raise
        manager.base._crash("messages of the actor system", error)
    transport.drain(1.0)
    transport.close()

"""What Thespian calls a system base: the launcher's end of an actor system, on the project's own transport.

An edge module: it forks the administrator. `ActorSystem(systemBase=UnixSystemBase(place))` is a working Thespian
system; NullBox uses `system.System`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from thespian.actors import ActorAddress, ActorSystemException, ActorSystemFailure
from thespian.system.messages.admin import PendingActor, PendingActorResponse
from thespian.system.messages.multiproc import EndpointConnected
from thespian.system.systemBase import systemBase
from thespian.system.transport import ReceiveEnvelope, Thespian__Run_Expired, TransmitIntent

from nullbox.actors import admin, process, thespian_fixes
from nullbox.actors.children import Child, Children
from nullbox.actors.transport import naming
from nullbox.actors.transport.peer import Place
from nullbox.actors.transport.unix import UnixTransport
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import Address, ExitReason

START_SECONDS = 10.0
ADMIN = Address(naming.ADMIN)


def class_path(actor_class: type) -> str:
    """The name by which the administrator imports a class."""
    return f"{actor_class.__module__}.{actor_class.__qualname__}"


class UnixSystemBase(systemBase):  # type: ignore[misc]
    """What Thespian calls a system base: the launcher's end of the system, on the project's own transport."""

    def __init__(self, place: Place) -> None:
        thespian_fixes.require_supported_version()
        thespian_fixes.quiet()
        self.transport = UnixTransport(place)
        self.admin_reason: ExitReason | None = None
        self.processes = Children(self.transport, self._admin_ended)
        self.capabilities: dict[str, Any] = {
            "Thespian ActorSystem Name": "NullBox unix",
            "Thespian ActorSystem Version": 1,
            "Thespian Watch Supported": True,
        }
        try:
            super().__init__(self)
        except BaseException:
            self.processes.kill(ADMIN)
            self.transport.close()
            raise

    def _startAdmin(self, *_arguments: object) -> None:
        self.processes.spawn(lambda transport: admin.run_admin(transport, self.capabilities), name=naming.ADMIN)
        answer = self.transport.run(None, timedelta(seconds=START_SECONDS))
        if not isinstance(answer, ReceiveEnvelope) or not isinstance(answer.message, EndpointConnected):
            raise NullBoxError(
                ErrorCode.UNAVAILABLE,
                f"the actor system did not start: {self.admin_reason or 'no word from its administrator'}",
            )

    def _admin_ended(self, child: Child, status: int) -> None:
        self.admin_reason = process.reason_from_status(status)
        self.transport.abort_run()

    def next_envelope(self, until: float) -> ReceiveEnvelope | None:
        """The next message to the launcher; None when the clock shows `until`.

        Raises:
            NullBoxError: the administrator has died, and so has everything.
        """
        if self.admin_reason is None:
            answer = self.transport.run(None, max(0.0, until - time.monotonic()))
            if isinstance(answer, ReceiveEnvelope):
                return answer
            if isinstance(answer, Thespian__Run_Expired):
                return None
        raise NullBoxError(ErrorCode.UNAVAILABLE, f"the actor system has ended: {self.admin_reason}")

    def create(
        self, name: str, requirements: dict[str, str] | None, keep: Callable[[ReceiveEnvelope], object]
    ) -> ActorAddress:
        """Have the administrator make an actor of the class `name`; other messages that come go to `keep`.

        Raises:
            NullBoxError: it could not be made; says why.
        """
        request = PendingActor(name, None, 1, requirements, None)
        self.transport.scheduleTransmit(None, TransmitIntent(ActorAddress(ADMIN), request))
        until = time.monotonic() + START_SECONDS
        while (answer := self.next_envelope(until)) is not None:
            if not isinstance(answer.message, PendingActorResponse):
                keep(answer)
            elif answer.message.actualAddress is None:
                raise NullBoxError(ErrorCode.UNAVAILABLE, f"cannot make {name}: {answer.message.errorStr}")
            else:
                return answer.message.actualAddress
        raise NullBoxError(ErrorCode.TIMEOUT, f"{name} was not up within {START_SECONDS:.0f} s")

    def newPrimaryActor(
        self, actorClass: type, targetActorRequirements: Any, globalName: Any, sourceHash: Any = None
    ) -> ActorAddress:
        """What `ActorSystem.createActor` calls."""
        if globalName or sourceHash:
            raise ActorSystemException("global names and loaded sources are not supported")
        try:
            return self.create(class_path(actorClass), targetActorRequirements, lambda _envelope: None)
        except NullBoxError as error:
            raise ActorSystemFailure(str(error)) from error

    def external_clone(self) -> Any:
        raise ActorSystemException("one launcher, one mailbox: private contexts are not supported")

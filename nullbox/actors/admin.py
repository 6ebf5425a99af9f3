"""The administrator: the process between the launcher and the root actor, and its logger.

Thespian's own, corrected. It takes orders from the process that started the system and from nobody else.
"""

from __future__ import annotations

import logging
import select
import signal
from typing import Any

from thespian.actors import ActorAddress
from thespian.system import logdirector
from thespian.system.messages.admin import PendingActorResponse
from thespian.system.messages.multiproc import EndpointConnected
from thespian.system.systemAdmin import ThespianAdmin
from thespian.system.transport import TransmitIntent
from thespian.system.utilis import actualActorClass

from nullbox.actors import logs, process
from nullbox.actors.actor_process import start_child
from nullbox.actors.children import Child
from nullbox.actors.thespian_fixes import Replicator
from nullbox.actors.transport import naming
from nullbox.actors.transport.unix import UnixTransport
from nullbox.protocols.messages import Address, CrashReport, Exiting, ExitReason

LOGGER_BACKOFF = (0.0, 0.1, 0.5, 2.0, 5.0)
"""Seconds before the logger is started again, the last for all further times."""

log = logging.getLogger(__name__)


class Admin(Replicator, ThespianAdmin):  # type: ignore[misc]
    """Makes the root actor, passes log records on, and reports the root's end to the launcher."""

    def __init__(self, transport: UnixTransport, capabilities: dict[str, Any]) -> None:
        super().__init__(transport, ActorAddress(transport.address), capabilities, None, None)
        starter = transport.place.parent
        assert starter is not None
        self._starter = starter
        self._names: dict[str, str] = {}
        self._last_words: dict[str, ExitReason] = {}
        self._logger: Child | None = None
        self._logger_deaths = 0
        logs.forward(transport, self._loggers_address)
        transport.receiver = self._take

    def handleIncoming(self, envelope: Any) -> object:
        """Thespian's entry point. Stock, an exception ends the administrator quietly, with status 0."""
        try:
            return super().handleIncoming(envelope)
        except Exception:
            log.exception("the administrator crashed while handling %s", type(envelope.message).__name__)
            self.transport.drain(1.0)
            self.wait_for_logger(0.2)
            self.transport.close()
            process.end(process.EXIT_CRASH)

    # --- the logger ------------------------------------------------------------------------------------

    def _loggers_address(self) -> Address:
        """The logger is made for the first record: a system where all is well logs nothing, and needs none."""
        if self._logger is None:
            self.start_logger()
        address: Address = self.asLogger.addressDetails
        return address

    def h_LogRecord(self, envelope: Any) -> bool:
        self._loggers_address()
        return super().h_LogRecord(envelope)

    def _cleanupAdmin(self, finish_cleanup: Any) -> None:
        """Stock, the end waits for the logger's, which may not be there."""
        if self._logger is not None:
            super()._cleanupAdmin(finish_cleanup)
        else:
            finish_cleanup()

    def start_logger(self) -> None:
        """Start a logger. Records wait in its outbox until it is there; nobody waits for it."""
        self._logger = self.children_processes.spawn(run_logger, kind=naming.LOGGER)
        self.asLogger = ActorAddress(self._logger.address)

    def h_LoggerConnected(self, envelope: Any) -> bool:
        return True

    def _logger_ended(self) -> None:
        if self.isShuttingDown():
            return
        delay = LOGGER_BACKOFF[min(self._logger_deaths, len(LOGGER_BACKOFF) - 1)]
        self._logger_deaths += 1
        self.transport.poller.after(delay, self.start_logger)

    def wait_for_logger(self, seconds: float) -> None:
        """Give the logger time to write what it has."""
        if self._logger is not None and self._logger.process.status is None:
            poll = select.poll()
            poll.register(self._logger.process.pidfd, select.POLLIN)
            poll.poll(seconds * 1000)

    # --- the root actor --------------------------------------------------------------------------------

    def _from_starter(self, envelope: Any) -> bool:
        if envelope.sender.addressDetails == self._starter:
            return True
        name = envelope.sender.addressDetails.name
        log.warning("%s may not send %s", name, type(envelope.message).__name__)
        return False

    def h_PendingActor(self, envelope: Any) -> object:
        return super().h_PendingActor(envelope) if self._from_starter(envelope) else True

    def h_SystemShutdown(self, envelope: Any) -> object:
        return super().h_SystemShutdown(envelope) if self._from_starter(envelope) else True

    def _startChildActor(
        self,
        childAddr: ActorAddress,
        childClass: str,
        *_rest: object,
        childRequirements: dict[str, Any] | None = None,
        **_options: object,
    ) -> None:
        actor_class = actualActorClass(childClass)
        child_id = str((childRequirements or {}).get("child_id") or actor_class.__name__)
        start_child(self, childAddr, actor_class, child_id)

    def _take(self, message: Any, sender: Address) -> None:
        """A root actor that has not got its Start yet knows no other parent than this."""
        if self.children_processes.get(sender) is None:
            return
        if isinstance(message, Exiting):
            self._last_words[sender.name] = message.reason
        elif isinstance(message, CrashReport):
            self._last_words[sender.name] = ExitReason("crash", message.error)

    def _child_ended(self, child: Child, status: int) -> None:
        if child is self._logger:
            self._logger_ended()
            return
        super()._child_ended(child, status)

    def _child_never_started(self, child: Child, status: int) -> None:
        reason = self._last_words.pop(child.address.name, process.reason_from_status(status))
        assert child.instance is not None
        for request in self._pendingChildren.pop(child.instance, []):
            self._sendPendingActorResponse(
                request,
                None,
                errorCode=PendingActorResponse.ERROR_Invalid_ActorClass,
                errorStr=f"it ended before it was up: {reason.kind}: {reason.detail}",
            )
        super()._child_never_started(child, status)

    def _notice(self, child: Child, status: int) -> None:
        reason = self._last_words.pop(child.address.name, process.reason_from_status(status))
        self.transport.tell(self._starter, Exiting(child.address.name, 0, reason))
        super()._notice(child, status)

    def _handle(self, envelope: Any) -> object:
        return self.handleIncoming(envelope)


def run_admin(transport: UnixTransport, capabilities: dict[str, Any]) -> None:
    """Be the administrator until the system is shut down."""
    process.lead_session()
    process.set_name("actor-admin")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the launcher decides when the system ends
    admin = Admin(transport, capabilities)
    transport.scheduleTransmit(None, TransmitIntent(ActorAddress(admin._starter), EndpointConnected(0)))
    admin.run()
    transport.drain(1.0)
    admin.wait_for_logger(0.5)
    transport.close()


def run_logger(transport: UnixTransport) -> None:
    """Be the logger until the administrator says otherwise."""
    process.set_name("actor-logger")
    parent = transport.place.parent
    assert parent is not None
    transport.only_from = parent
    level = logging.getLogger().level

    def configured(_endpoint: object) -> UnixTransport:
        """Called once Thespian has made new loggers."""
        logs.write_lines(level)
        return transport

    logdirector.startupASLogger(ActorAddress(parent), None, None, configured, None)
    transport.close()

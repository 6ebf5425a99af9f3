"""Corrections to Thespian 4.0.1, in one place. Every one has a test that fails without it.

They lean on Thespian's insides, so they refuse every other version. What they change, and why:

- how children are made and how their end is noticed: by pidfd, with the exit status, once
  (stock: SIGCHLD, no status, twice for an orderly exit);
- a primary actor that ends before it is up is reported at once (stock: the caller waits 50 s);
- a logger that dies is started again (stock: the administrator dies of a misspelt attribute), and nobody waits
  for a logger;
- no rate limit (stock: 0.1 s of sleep a send above 4,480 a second) and no text made of every message for a log
  that is off;
- Thespian's own log file in the temporary directory is off (stock: where that cannot be written, an exception in
  a handler silences the actor);
- signals keep their defaults (stock: an actor that gets SIGSEGV spins for ever);
- an actor's handler runs once (see `base`; stock: again, on a copy, when it raised).
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import thespian
from thespian import actors
from thespian.actors import ActorAddress
from thespian.system import systemCommon, utilis
from thespian.system.multiprocCommon import MultiProcReplicator
from thespian.system.transport import ReceiveEnvelope

from nullbox.actors.children import Child, Children
from nullbox.actors.transport import naming, system_messages
from nullbox.actors.transport.packet import Kind
from nullbox.actors.transport.unix import UnixTransport
from nullbox.protocols.messages import Address

SUPPORTED = "4.0.1"

log = logging.getLogger(__name__)


def require_supported_version(found: str | None = None) -> None:
    """Refuse to run on a Thespian that these corrections were not made for.

    Raises:
        RuntimeError: names the version found and the one that is right.
    """
    version = found or installed_version()
    if version != SUPPORTED:
        raise RuntimeError(
            f"Thespian {version} is installed; NullBox's corrections are for {SUPPORTED} exactly. "
            f"Install thespian=={SUPPORTED}, or check every correction in {__name__} against {version}."
        )


def installed_version() -> str:
    """By the name of the folder with its metadata, which lies beside it (PyPA, Recording installed projects).

    `importlib.metadata` would read the same from the file in it, by means of the whole `email` package.
    """
    found = sorted(Path(thespian.__path__[0]).parent.glob("thespian-*.dist-info"))
    return found[0].stem.removeprefix("thespian-") if found else "of an unknown version"


def quiet() -> None:
    """Turn Thespian's own log file off; its warnings reach standard logging as `primary` entries only."""
    utilis.thesplog_control(logging.CRITICAL, False, 0)


class ChildActorExited(actors.ChildActorExited):  # type: ignore[misc]
    """Thespian's notice, with what it lacks: the wait status (waitpid(2)). Thespian goes by the class's name."""

    def __init__(self, address: ActorAddress, status: int) -> None:
        super().__init__(address)
        self.status = status


class Replicator(MultiProcReplicator):  # type: ignore[misc]
    """How a Thespian process makes its children and learns of their end. Mixed into the administrator and actors.

    Needs `transport` (a `UnixTransport`); Thespian's names.
    """

    transport: UnixTransport

    def init_replicator(self, transport: UnixTransport, concurrency_context: object) -> None:
        super().init_replicator(transport, concurrency_context)
        self.children_processes = Children(transport, self._child_ended)
        self.asLogger = ActorAddress(Address(naming.ADMIN))

    def _send_intent(self, intent: Any, curtime: object = None) -> None:
        self._send_intent_to_transport(intent)

    def _send_intent_to_transport(self, intent: Any) -> None:
        try:
            self.transport.scheduleTransmit(self._addrManager, intent)
        except systemCommon.CannotPickleAddress as error:
            self._awaitingAddressUpdate.add(error.address, intent)
        except Exception:
            log.exception("cannot send Thespian's %s", type(intent.message).__name__)
            intent.tx_done(systemCommon.SendStatus.Failed)

    def _child_ended(self, child: Child, status: int) -> None:
        if child.instance is not None and not child.connected:
            self._child_never_started(child, status)
        else:
            self._notice(child, status)

    def _notice(self, child: Child, status: int) -> None:
        """Hand the one notice of a child's end to whoever is concerned."""
        address = ActorAddress(child.address)
        self.transport.enqueue(
            lambda: self._handle(ReceiveEnvelope(self.transport.myAddress, ChildActorExited(address, status)))
        )

    def _child_never_started(self, child: Child, status: int) -> None:
        self._retryPendingChildOperations(child.instance, None)

    def _handle(self, envelope: Any) -> object:
        raise NotImplementedError

    def _childExited(self, childAddr: ActorAddress) -> None:
        """Nothing to do: the process was collected before the notice."""

    def childDied(self) -> bool:
        """Nothing to do: ends are noticed by pidfd."""
        return True

    def h_EndpointConnected(self, envelope: Any) -> bool:
        child = self.children_processes.get(envelope.sender.addressDetails)
        if child is None or child.instance != envelope.message.childInstance or child.connected:
            log.warning("%s claims to be a child that is not known", envelope.sender.addressDetails.name)
            return True
        child.connected = True
        self._pendingActorReady(child.instance, envelope.sender)
        return True

    def h_LogRecord(self, envelope: Any) -> bool:
        """Pass a log record on to the logger; one that does not fit is lost, and counted by the transport."""
        record = envelope.message
        self.transport.send(self.asLogger.addressDetails, Kind.SYSTEM, system_messages.encode(record), "LogRecord")
        return True

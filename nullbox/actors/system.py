"""An actor system: start it, make its root actor, talk to it, end it.

An edge module: it forks. The process that calls `start_system` is the launcher. It should have one thread until
then, and hold no secret and no descriptor that actors must not have.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType
from typing import Any

from thespian.actors import ActorAddress, ActorSystem
from thespian.system.messages.admin import SystemShutdown
from thespian.system.transport import ReceiveEnvelope, TransmitIntent

from nullbox.actors import children, sockets
from nullbox.actors.base import BaseActor
from nullbox.actors.system_base import ADMIN, UnixSystemBase, class_path
from nullbox.actors.transport import naming
from nullbox.actors.transport.outbox import Delivery
from nullbox.actors.transport.peer import Place
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import Address, CrashReport, Exiting, ExitReason, Ping, Pong

MAX_MAIL = 1024
"""Messages that nobody asked for and `receive` has not fetched; beyond it the oldest is lost, and that is logged."""

log = logging.getLogger(__name__)


class System:
    """A running actor system, as its launcher sees it. For one thread, the one that started it."""

    def __init__(self, base: UnixSystemBase, lock: int) -> None:
        self._base = base
        self._transport = base.transport
        self._lock = lock
        self._actor_system = ActorSystem(systemBase=base, transientUnique=True)
        self._mail: deque[tuple[Any, Address]] = deque()
        self._root: Address | None = None
        self._root_words: ExitReason | None = None
        self._root_reason: ExitReason | None = None
        self._closed = False

    @property
    def address(self) -> Address:
        """The launcher's own mailbox."""
        return self._transport.address

    @property
    def admin_pid(self) -> int:
        return self._transport.admin_pid

    def spawn_root(self, actor_class: type[BaseActor], child_id: str) -> Address:
        """Make the root actor; it waits for its `Start`. The class must be importable by its name.

        Raises:
            NullBoxError: it could not be made; says why.
        """
        made = self._base.create(class_path(actor_class), {"child_id": child_id}, self._keep)
        root: Address = made.addressDetails
        self._root = root
        self._root_words = self._root_reason = None
        return root

    def tell(self, address: Address, message: Any) -> Delivery:
        """Send a message. What does not go out at once goes out during `receive`, `ask` and `wait`."""
        return self._transport.tell(address, message)

    def ask(self, address: Address, message: Any, timeout: float) -> Any:
        """Send a message and return the answer (see `is_answer`) from that address. Others are kept for `receive`.

        Raises:
            NullBoxError: no answer in `timeout` seconds, or nobody there to answer.
        """
        what = type(message).__name__
        if not (delivery := self.tell(address, message)):
            raise NullBoxError(ErrorCode.UNAVAILABLE, f"{address.name} cannot be asked: {delivery.value}")
        until = time.monotonic() + timeout
        while (answer := self._base.next_envelope(until)) is not None:
            if is_answer(message, answer.message) and answer.sender.addressDetails == address:
                return answer.message
            self._keep(answer)
        raise NullBoxError(ErrorCode.TIMEOUT, f"{address.name} did not answer {what} within {timeout:g} s")

    def receive(self, timeout: float) -> tuple[Any, Address] | None:
        """The next message to the launcher that answers no `ask`, with its sender; None after `timeout` seconds."""
        until = time.monotonic() + timeout
        while not self._mail:
            answer = self._base.next_envelope(until)
            if answer is None:
                return None
            self._keep(answer)
        return self._mail.popleft()

    def wait(self, timeout: float) -> ExitReason | None:
        """Wait for the root actor's end, or the system's; None while they live. Messages are kept meanwhile."""
        until = time.monotonic() + timeout
        while self._root_reason is None:
            try:
                answer = self._base.next_envelope(until)
            except NullBoxError:
                return self._base.admin_reason
            if answer is None:
                return None
            self._keep(answer)
        return self._root_reason

    def _keep(self, envelope: ReceiveEnvelope) -> None:
        message, sender = envelope.message, envelope.sender.addressDetails
        if sender == self._root and isinstance(message, Exiting | CrashReport):
            self._root_words = message.reason if isinstance(message, Exiting) else ExitReason("crash", message.error)
        elif sender == ADMIN and isinstance(message, Exiting):
            if self._root is not None and message.child_id == self._root.name:
                self._root_reason = self._root_words or message.reason
            return
        if len(self._mail) == MAX_MAIL:
            lost, origin = self._mail.popleft()
            log.warning("nobody fetched %s from %s: it is lost", type(lost).__name__, origin.name)
        self._mail.append((message, sender))

    def shutdown(self, timeout: float = 10.0) -> None:
        """End the system: the root is asked to stop, and after `timeout` seconds everything is killed."""
        if self._closed:
            return
        self._closed = True
        if self._base.admin_reason is None:
            self._transport.scheduleTransmit(None, TransmitIntent(ActorAddress(ADMIN), SystemShutdown()))
            if self._await_admin(timeout) is None:
                self._base.processes.kill(ADMIN, signal.SIGKILL)
                self._await_admin(1.0)
        self._await_sockets(1.0)
        self._transport.close()
        os.close(self._lock)

    def _await_sockets(self, seconds: float) -> None:
        """The kernel kills what the administrator left; be sure that it is gone, and its sockets too. Those who
        survive their parents keep theirs."""
        until = time.monotonic() + seconds
        while True:
            children.sweep(self._transport)
            left = {path.name for path in self._transport.place.directory.iterdir()}
            if left <= {sockets.LOCK, self._transport.name} or time.monotonic() >= until:
                return
            self._transport.run(None, 0.005)

    def _await_admin(self, seconds: float) -> ExitReason | None:
        until = time.monotonic() + seconds
        while self._base.admin_reason is None and time.monotonic() < until:
            self._transport.run(None, max(0.0, until - time.monotonic()))
        return self._base.admin_reason

    def __enter__(self) -> System:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.shutdown()


def is_answer(question: Any, message: Any) -> bool:
    """Whether `message` answers `question`: Pong a Ping, else what repeats its `request_id`, else anything."""
    if isinstance(question, Ping):
        return isinstance(message, Pong) and message.seq == question.seq
    wanted = getattr(question, "request_id", None)
    return wanted is None or getattr(message, "request_id", None) == wanted


def start_system(directory: Path) -> System:
    """Start an actor system whose sockets live in `directory`, which is made with mode 0700.

    Raises:
        NullBoxError: `conflict` where another system runs there, `invalid` where the directory cannot be used,
            `unavailable` where the system does not come up.
    """
    if threading.current_thread() is not threading.main_thread():
        raise NullBoxError(
            ErrorCode.WRONG_STATE,
            "start the actor system on the main thread: its processes are killed when the thread that made them ends",
        )
    sockets.prepare(directory)
    lock = sockets.lock(directory)
    try:
        sockets.remove_stale(directory)
        name = naming.name(naming.EXTERNAL, os.getpid(), naming.serial())
        return System(UnixSystemBase(Place(directory, name, None, 0, lock)), lock)
    except BaseException:
        os.close(lock)
        raise

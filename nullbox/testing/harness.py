"""What a test of actors can do, whatever runs them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from nullbox.actors.base import BaseActor
from nullbox.actors.system import is_answer
from nullbox.actors.transport.outbox import Delivery
from nullbox.protocols.messages import Address, CrashReport, Exiting, ExitReason, Ready, Start, Stop

T = TypeVar("T")

SECONDS = 5.0
"""How long to wait unless said otherwise."""


class Harness(ABC):
    """What a test can do. Get one from `in_process()` or `processes()`."""

    def __init__(self) -> None:
        self._mail: deque[tuple[Any, Address]] = deque()
        self._ends: dict[Address, ExitReason] = {}
        self._words: dict[Address, ExitReason] = {}
        self.address: Address
        """The test's own mailbox."""

    # --- what differs ----------------------------------------------------------------------------------

    @abstractmethod
    def spawn(self, actor_class: type[BaseActor], child_id: str) -> Address:
        """Make an actor that waits for its Start."""

    @abstractmethod
    def tell(self, address: Address, message: Any) -> Delivery:
        """Send a message."""

    @abstractmethod
    def kill(self, address: Address) -> None:
        """SIGKILL an actor made by `spawn` or `start`."""

    @abstractmethod
    def _pump(self, until: float) -> bool:
        """Let things happen until a message came or an actor ended; False when `until` has come."""

    @abstractmethod
    def now(self) -> float:
        """The clock of `_pump`, in seconds."""

    @abstractmethod
    def close(self) -> None:
        """End everything."""

    # --- what tests use --------------------------------------------------------------------------------

    def start(
        self,
        actor_class: type[BaseActor],
        config: dict[str, Any] | None = None,
        *,
        peers: dict[str, Address] | None = None,
        child_id: str = "",
        incarnation: int = 1,
        wait: bool = True,
        timeout: float = SECONDS,
    ) -> Address:
        """Make an actor, send its Start and, unless `wait` is false, wait until it is ready."""
        child_id = child_id or actor_class.__name__.lower()
        address = self.spawn(actor_class, child_id)
        self.tell(address, Start(child_id, incarnation, config or {}, peers or {}))
        if wait:
            self.expect(Ready, sender=address, timeout=timeout)
        return address

    def ask(self, address: Address, message: Any, timeout: float = SECONDS) -> Any:
        """Send a message and wait for its answer (see `system.is_answer`) from that address."""
        assert self.tell(address, message), f"{address.name} cannot be asked"
        return self.expect(object, sender=address, where=lambda answer: is_answer(message, answer), timeout=timeout)

    def expect(
        self,
        kind: type[T],
        *,
        sender: Address | None = None,
        where: Callable[[T], bool] = lambda _message: True,
        timeout: float = SECONDS,
    ) -> T:
        """Wait for a message to the test: of this kind, from this sender, for which `where` holds. Others are kept.

        Raises:
            AssertionError: it did not come in `timeout` seconds; names what came instead.
        """
        until = self.now() + timeout
        seen = 0
        while True:
            for index in range(seen, len(self._mail)):
                message, origin = self._mail[index]
                if isinstance(message, kind) and sender in (None, origin) and where(message):
                    del self._mail[index]
                    return message
            seen = len(self._mail)
            if not self._pump(until):
                whom = f" from {sender.name}" if sender else ""
                came = [f"{type(message).__name__} from {origin.name}" for message, origin in self._mail]
                ends = [f"{address.name}: {reason}" for address, reason in self._ends.items()]
                raise AssertionError(f"no {kind.__name__}{whom} in {timeout:g} s; came: {came}; ended: {ends}")

    def ended(self, address: Address, timeout: float = SECONDS) -> ExitReason:
        """Wait until an actor made by `spawn` or `start` has ended; return why."""
        until = self.now() + timeout
        while address not in self._ends:
            if not self._pump(until):
                raise AssertionError(f"{address.name} did not end in {timeout:g} s")
        return self._words.get(address, self._ends[address])

    def stop(self, address: Address, timeout: float = SECONDS) -> ExitReason:
        """Ask an actor to end, and wait for it."""
        self.tell(address, Stop("the test is done with it"))
        return self.ended(address, timeout)

    def _arrived(self, message: Any, sender: Address) -> None:
        if isinstance(message, Exiting):
            self._words[sender] = message.reason
        elif isinstance(message, CrashReport):
            self._words[sender] = ExitReason("crash", message.error)
        self._mail.append((message, sender))

"""What an actor may ask of what runs it: one interface, two implementations.

`process_runtime` runs the actor in a process of its own; `inprocess` is the twin for tests, with the same rules
and no process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

from nullbox.actors.transport.outbox import Delivery
from nullbox.protocols.messages import Address

if TYPE_CHECKING:
    from nullbox.actors.base import BaseActor


class Timer(Protocol):
    """A callback that is due once."""

    def cancel(self) -> None:
        """It will not run. Cancelling twice, or after it ran, is harmless."""


class Runtime(Protocol):
    """All of it is for the actor's own thread, `call` excepted."""

    @property
    def address(self) -> Address:
        """The actor's own mailbox."""

    @property
    def parent(self) -> Address:
        """The mailbox of the process that made the actor."""

    def tell(self, target: Address, message: Any) -> Delivery: ...

    def call(self, function: Callable[..., object], *arguments: object) -> bool: ...

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer: ...

    def watch(self, fd: int, callback: Callable[[], object]) -> None: ...

    def unwatch(self, fd: int) -> None: ...

    def spawn(self, actor_class: type[BaseActor], child_id: str) -> Address: ...

    def kill(self, address: Address) -> None: ...

    def is_child(self, address: Address) -> bool: ...

    def children(self) -> list[Address]: ...

    def flush(self, seconds: float) -> bool: ...

    def end(self, status: int) -> NoReturn: ...

"""The harness in the calling process, with virtual time."""

from __future__ import annotations

from typing import Any

from nullbox.actors.base import BaseActor
from nullbox.actors.inprocess import OUTSIDE, World
from nullbox.actors.process import reason_from_status
from nullbox.actors.transport.outbox import Delivery
from nullbox.protocols.messages import Address
from nullbox.testing.harness import Harness


class InProcess(Harness):
    """Actors in the calling process. Time is virtual: `advance` moves it, and so does waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.address = OUTSIDE

    def spawn(self, actor_class: type[BaseActor], child_id: str) -> Address:
        return self.world.make(actor_class, child_id)

    def tell(self, address: Address, message: Any) -> Delivery:
        return self.world.tell(OUTSIDE, address, message)

    def kill(self, address: Address) -> None:
        self.world.end(address, 9)

    def advance(self, seconds: float) -> None:
        """Let this much time pass, with all that happens in it."""
        until = self.world.now + seconds
        while self.world.step(until):
            pass
        self._collect()

    def now(self) -> float:
        return self.world.now

    def _pump(self, until: float) -> bool:
        self.world.settle()
        while not self._collect():
            if not self.world.step(until):
                return self._collect()
        return True

    def _collect(self) -> bool:
        came = bool(self.world.mail or self.world.ended)
        while self.world.mail:
            self._arrived(*self.world.mail.popleft())
        while self.world.ended:
            address, status = self.world.ended.popitem()
            self._ends[address] = reason_from_status(status)
        return came

    def close(self) -> None:
        self.world.close()

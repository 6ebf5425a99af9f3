"""The harness with a process for every actor."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

from nullbox.actors.base import BaseActor
from nullbox.actors.system import System, start_system
from nullbox.actors.transport.outbox import Delivery
from nullbox.protocols.messages import Address, ExitReason, Failure, Query, Ready, Reply, Start
from nullbox.testing.harness import SECONDS, Harness


class Nursery(BaseActor):
    """The root actor of `processes()`: makes what the test asks for and reports its end.

    Query verbs: `spawn` (`class`: module:qualname, `child_id`) and `kill` (`address`).
    """

    def on_query(self, query: Query, sender: Address) -> None:
        try:
            if query.verb == "spawn":
                actor_class = _resolve(query.params["class"])
                value: Any = self.spawn(actor_class, query.params["child_id"])
            else:
                self.kill(query.params["address"])
                value = None
        except Exception as error:
            self.tell(sender, Failure(query.request_id, "invalid", f"{type(error).__name__}: {error}"))
        else:
            self.tell(sender, Reply(query.request_id, value))

    def child_exited(self, address: Address, reason: ExitReason) -> None:
        self.phase("ended", address=address, reason=reason)


def _resolve(path: str) -> type[BaseActor]:
    """The class; its module was imported before this process was forked."""
    module, _colon, name = path.partition(":")
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    assert isinstance(found, type) and issubclass(found, BaseActor)
    return found


class Processes(Harness):
    """Actors in processes of their own, below a `Nursery`. Their classes must be found by module and name."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.system: System = start_system(directory)
        self.address = self.system.address
        self._ids = 0
        try:
            self.nursery = self.system.spawn_root(Nursery, "nursery")
            self.system.tell(self.nursery, Start("nursery", 1, {}, {}))
            self.expect(Ready, sender=self.nursery)
        except BaseException:
            self.system.shutdown(0)
            raise

    def spawn(self, actor_class: type[BaseActor], child_id: str) -> Address:
        path = f"{actor_class.__module__}:{actor_class.__qualname__}"
        answer = self._command("spawn", {"class": path, "child_id": child_id})
        assert isinstance(answer, Reply), f"cannot make {path}: {answer.message}"
        address: Address = answer.value
        return address

    def tell(self, address: Address, message: Any) -> Delivery:
        if address.name not in self._connected():
            self._await_mailbox(address)
        return self.system.tell(address, message)

    def kill(self, address: Address) -> None:
        self._command("kill", {"address": address})

    def _command(self, verb: str, params: dict[str, Any]) -> Any:
        self._ids -= 1
        return self.ask(self.nursery, Query(self._ids, verb, params))

    def _connected(self) -> set[str]:
        return set(self.system._transport._peers)

    def _await_mailbox(self, address: Address) -> None:
        """A new process opens its mailbox a little after its parent knows its name."""
        path = self.system._transport.place.directory / address.name
        until = self.now() + SECONDS
        while not path.exists() and address not in self._ends and self.now() < until:
            self._pump(min(until, self.now() + 0.002))

    def now(self) -> float:
        return time.monotonic()

    def _pump(self, until: float) -> bool:
        came = self.system.receive(max(0.0, until - time.monotonic()))
        if came is None:
            return False
        message, sender = came
        if sender == getattr(self, "nursery", None) and getattr(message, "phase", "") == "ended":
            self._ends[message.detail["address"]] = message.detail["reason"]
        else:
            self._arrived(message, sender)
        return True

    def close(self) -> None:
        self.system.shutdown()

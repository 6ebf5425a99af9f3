"""Children for tests with real processes: they do what they are told, good or bad."""

from __future__ import annotations

import os
import time

from nullbox.actors.base import BaseActor
from nullbox.protocols.messages import Address, ExitReason, PowerCommand, Query, Reply, Start, Stop
from nullbox.supervision.supervisor import Supervisor


class Careless(Supervisor):
    """Its first start of a child fails after the process was made."""

    failed = False

    def spawn(self, actor_class: type[BaseActor], child_id: str) -> Address:
        address = super().spawn(actor_class, child_id)
        if not self.failed:
            self.failed = True
            raise OSError(28, "no space for what comes after")
        return address


class Worker(BaseActor):
    """config.behaviour: `silent` never becomes ready, `deaf` ignores Stop, `crash` crashes at once."""

    def started(self, start: Start) -> None:
        behaviour = start.config.get("behaviour", "")
        if behaviour == "crash":
            raise RuntimeError("as configured")
        if behaviour != "silent":
            self.ready()
        power = os.environ.get("SUPERVISION_TEST_POWER")
        if power and self.child_id == "gateway":
            self.tell(self.peers["nulld"], PowerCommand(1, power))

    def stopping(self, stop: Stop) -> None:
        if noted := os.environ.get("SUPERVISION_TEST_STOPS"):
            with open(noted, "a") as file:
                file.write(f"{self.child_id} {stop.reason}\n")
        if self.config.get("behaviour") != "deaf":
            super().stopping(stop)

    def on_query(self, message: Query, sender: Address) -> None:
        if message.verb == "crash":
            raise RuntimeError("as asked")
        if message.verb == "exit":
            self.exit(ExitReason(message.params["kind"], "as asked", message.params.get("code")))
        if message.verb == "hang":
            time.sleep(3600)
        if message.verb == "phase":
            self.phase(message.params["phase"], by="test")
        self.tell(
            sender,
            Reply(
                message.request_id,
                {"pid": os.getpid(), "incarnation": self.incarnation, "peers": sorted(self.peers)},
            ),
        )

"""Which links' agents are answered when they ask for names, and by which grants."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nullbox.egress.addresses import AddressRules
from nullbox.egress.dns.resolver import AgentResolver
from nullbox.egress.dns.server import Resolvers
from nullbox.egress.dns.wire import UpstreamAnswer
from nullbox.egress.events import Denial, EventLog
from nullbox.egress.links import LEARNING, Link, grants_of
from nullbox.protocols.errors import ErrorCode, NullBoxError

Ask = Callable[[str], Awaitable[UpstreamAnswer]]
"""How a name is resolved upstream."""

Pin = Callable[[str, str, Sequence[str], float], None]
"""Open addresses for an agent, under a name, for so many seconds."""


async def no_upstream(name: str) -> UpstreamAnswer:
    """For a machine without a resolver upstream."""
    raise NullBoxError(ErrorCode.UNAVAILABLE, "no upstream resolver is configured")


@dataclass(frozen=True)
class Serving:
    """resolvers: who listens; None: nobody is ever answered. clock, wall: monotonic and Unix time in seconds."""

    resolvers: Resolvers | None
    rules: AddressRules
    ask: Ask
    pin: Pin
    log: EventLog
    clock: Callable[[], float]
    wall: Callable[[], float]

    def serve(self, link: Link) -> None:
        """Let the agent ask: judge by the link's grants from now on, and listen if nobody does yet."""
        agent, grants, learn = link.agent, grants_of(link), LEARNING in link.marks
        if self.resolvers is None or self.resolvers.regrant(agent, grants, learn=learn):
            return

        def note(kind: str, name: str, address: str, detail: str) -> None:
            self.log.add(Denial(agent, kind, name, address, "dns", 53, detail), self.wall())

        resolver = AgentResolver(
            grants,
            self.rules,
            ask=self.ask,
            pin=lambda name, addresses, seconds: self.pin(agent, name, addresses, seconds),
            report=note,
            clock=self.clock,
            learn=learn,
        )
        self.resolvers.open(link.slot, agent, resolver)

    def close(self, agent: str) -> None:
        """Listen no more."""
        if self.resolvers is not None:
            self.resolvers.close(agent)

    def forget(self, agent: str) -> int:
        """Drop the agent's cached answers; how many there were."""
        return self.resolvers.forget(agent) if self.resolvers is not None else 0

    def healthy(self) -> bool:
        """Whether who listens also answers. Never blocks."""
        return self.resolvers is None or self.resolvers.healthy()

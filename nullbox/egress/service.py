"""Egress without an actor around it: when the ruleset, the TAPs and the resolvers change, and in which order.

The order is the point. The base ruleset, which drops everything, is loaded before any TAP exists. A link's rules are
loaded before its TAP comes up, and its TAP is gone before its rules go. Whatever fails in between leaves less open
than before, never more.

Two threads meet here: the caller's, and the resolvers', which opens addresses. One lock guards the model; it is never
held while one thread waits for the other.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any

from nullbox.egress import report
from nullbox.egress.addresses import AddressRules
from nullbox.egress.dns.resolver import AgentResolver
from nullbox.egress.dns.server import Resolvers
from nullbox.egress.dns.wire import UpstreamAnswer
from nullbox.egress.events import Deltas, Denial, EventLog, read_denials
from nullbox.egress.expr import Command
from nullbox.egress.links import (
    FIRST_MARK,
    LEARNING,
    Link,
    LinkInfo,
    change,
    grants_of,
    marks_for,
    read_limits,
    read_links,
    removal,
)
from nullbox.egress.nft import Firewall
from nullbox.egress.pins import Pins, read_pins
from nullbox.egress.policy import LinkPolicy
from nullbox.egress.ruleset import Base, base_commands
from nullbox.egress.slots import LINK_PREFIX, allocate
from nullbox.egress.tap import Taps
from nullbox.protocols.errors import ErrorCode, NullBoxError

Ask = Callable[[str], Awaitable[UpstreamAnswer]]


async def _no_upstream(name: str) -> UpstreamAnswer:
    raise NullBoxError(ErrorCode.UNAVAILABLE, "no upstream resolver is configured")


class EgressService:
    """All links of one machine.

    Args:
        resolvers: who serves the agents' questions; None: nobody does.
        ask: how names are resolved upstream.
        rules: which addresses answers may hold.
        may_learn: whether agents may be put into report-only mode.
        clock, wall: monotonic and Unix time in seconds.
    """

    def __init__(
        self,
        base: Base,
        firewall: Firewall,
        taps: Taps,
        resolvers: Resolvers | None = None,
        *,
        ask: Ask = _no_upstream,
        rules: AddressRules | None = None,
        may_learn: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.base = base
        self.address_rules = rules or AddressRules()
        self.may_learn = may_learn
        self.events = EventLog()
        self._firewall = firewall
        self._taps = taps
        self._resolvers = resolvers
        self._ask = ask
        self._clock = clock
        self._wall = wall
        self._links: dict[str, Link] = {}
        self._pins: dict[str, Pins] = {}
        self._names: dict[str, dict[str, set[str]]] = {}
        self._next_mark = FIRST_MARK
        self._deltas = Deltas()
        self._lock = threading.RLock()

    @property
    def links(self) -> dict[str, Link]:
        return dict(self._links)

    def prepare(self) -> None:
        """Load or renew the base ruleset and learn which links the kernel has. Running agents' flows are untouched.

        Raises:
            NullBoxError: the ruleset cannot be loaded. What was there before is still there.
        """
        objects = self._firewall.objects()
        sets = [item[kind] for item in objects for kind in ("set", "map") if kind in item]
        self._firewall.apply(base_commands(self.base, [(body["family"], body["name"]) for body in sets]))
        self._taps.enable_forwarding()
        with self._lock:
            found = read_links(
                self._firewall.elements("agents"),
                self._firewall.elements("live"),
                self._firewall.elements("budgets"),
                read_limits(objects),
            )
            self._links = {link.agent: link for link in found if link.agent}
            self._next_mark = max([FIRST_MARK, *(int(mark) for mark in self._firewall.elements("generation"))])
            self._read_pins()
        up = {tap.slot for tap in self._taps.list() if tap.up}
        for link in self._links.values():
            if link.slot in up:
                self._serve(link)

    def open_link(self, agent: str, policy: LinkPolicy, uid: int = 0) -> LinkInfo:
        """Give `agent` its TAP with exactly the grants of `policy`. Repeating it is harmless; a changed policy applies.

        Args:
            uid: the user that may attach to the TAP.

        Raises:
            NullBoxError: `unavailable`, no free slot or the kernel refused; the agent then has no link that is up;
                `denied`, it may not learn.
        """
        if policy.learn and not self.may_learn:
            raise NullBoxError(
                ErrorCode.DENIED, "report-only mode is off: egress.learn = true in nulld.toml permits it"
            )
        with self._lock:
            old = self._links.get(agent)
            on_wire = self._taps.list()
            owners = {tap.agent: tap.slot for tap in on_wire if tap.agent}
            owners |= {name: link.slot for name, link in self._links.items()}
            slot = allocate(owners, agent, [tap.slot for tap in on_wire])
            link, commands, next_mark = change(old, slot, agent, policy, self._next_mark)
            pins = self._pins.setdefault(agent, Pins(slot.tap))
            gone = set(old.marks.values()) - set(link.marks.values()) if old is not None else set()
            self._taps.create(slot, agent, uid)
            try:
                self._apply([*pins.revoke(gone, self._clock()), *commands])
            except NullBoxError:
                if old is None:
                    self._taps.remove(slot)
                raise
            self._links[agent], self._next_mark = link, next_mark
            self._taps.up(slot)
        self._serve(link)
        return LinkInfo(agent, slot.tap, slot.mac, slot.guest, slot.gateway, LINK_PREFIX)

    def close_link(self, agent: str) -> None:
        """Remove the TAP, then the rules. Nothing happens if there is no link."""
        if self._resolvers is not None:
            self._resolvers.close(agent)
        with self._lock:
            link = self._links.get(agent)
            if link is None:
                for tap in self._taps.list():
                    if tap.agent == agent:
                        self._taps.remove(tap.slot)
                return
            self._taps.remove(link.slot)
            pins = self._pins.pop(agent, Pins(link.slot.tap))
            self._names.pop(agent, None)
            self._apply([*pins.revoke(list(link.marks.values()), self._clock()), *removal(link)])
            del self._links[agent]

    def reconcile(self, known_agents: Collection[str]) -> list[str]:
        """Remove every link and TAP whose owner is not among `known_agents`, and links that have lost their TAP.

        Returns:
            What was removed: agents' names, or the device's name where nobody's name is on it.
        """
        removed = []
        on_wire = {tap.slot: tap for tap in self._taps.list()}
        for agent, link in sorted(self._links.items()):
            tap = on_wire.get(link.slot)
            if agent not in known_agents or tap is None or tap.agent != agent:
                self.close_link(agent)
                removed.append(agent)
        for slot, tap in sorted(on_wire.items()):
            # A known agent's TAP without a link passes nothing; it waits for its agent to open the link again.
            if tap.agent not in known_agents and tap.agent not in removed:
                self._taps.remove(slot)
                removed.append(tap.agent or slot.tap)
        return removed

    def pin(self, agent: str, name: str, addresses: Sequence[str], seconds: float) -> None:
        """Open `addresses` for the grants of `agent` that cover `name`; done when the kernel has them.

        Raises:
            NullBoxError: `denied`, no grant covers the name (any more) or too much is open;
                `internal`, the kernel refused.
        """
        with self._lock:
            link = self._links.get(agent)
            marks = marks_for(link, name) if link is not None else []
            if not marks:
                raise NullBoxError(ErrorCode.DENIED, f"no grant of {agent} covers {name}")
            assert link is not None
            pins = self._pins.setdefault(agent, Pins(link.slot.tap))
            try:
                self._apply(pins.grant(marks, addresses, seconds, self._clock()))
            except OverflowError as error:
                raise NullBoxError(ErrorCode.DENIED, f"agent {agent}: {error}") from error
            if LEARNING in link.marks:
                for address in addresses:
                    self._names.setdefault(agent, {}).setdefault(address, set()).add(name)

    def open_for(self, agent: str, address: str, port: int) -> list[str]:
        """The grants (as text) whose fresh answers hold this destination."""
        with self._lock:
            link = self.link(agent)
            pins, now = self._pins.get(agent, Pins(link.slot.tap)), self._clock()
            marks = {*pins.names_of(address, port, now), *pins.names_of(address, 0, now)}
            return sorted(text for text, mark in link.marks.items() if mark in marks)

    def flush_dns(self, agent: str) -> int:
        """Forget the agent's cached answers; how many. What they opened stays open until its time."""
        self.link(agent)
        return self._resolvers.forget(agent) if self._resolvers is not None else 0

    def healthy(self) -> bool:
        """Whether the resolvers' thread answers. Never blocks."""
        return self._resolvers is None or self._resolvers.healthy()

    def poll(self) -> list[Denial]:
        """Read the kernel's denial record into the event log; what is new."""
        with self._lock:
            agents = {link.slot: link.agent for link in self._links.values()}
        elements = self._firewall.elements
        record = read_denials(elements("denied"), elements("denied_other"), elements("spoofed"), agents)
        fresh = self._deltas.new(record)
        for denial in fresh:
            self.events.add(denial, self._wall())
        return fresh

    def rules(self, agent: str | None = None) -> dict[str, Any]:
        """What the kernel enforces, for all links or one.

        Raises:
            NullBoxError: `not_found`, there is no such link.
        """
        chosen = [self.link(agent)] if agent is not None else [link for _, link in sorted(self._links.items())]
        return report.rules(self.base, self.address_rules, chosen, self._firewall.elements("live"))

    def elements(self, name: str) -> list[Any]:
        """The kernel's listing of one of our sets."""
        return self._firewall.elements(name)

    def names_of(self, agent: str) -> dict[str, set[str]]:
        """Address → the names that it was an answer for, since this agent began to learn."""
        with self._lock:
            return {address: set(names) for address, names in self._names.get(agent, {}).items()}

    def link(self, agent: str) -> Link:
        """One agent's link.

        Raises:
            NullBoxError: `not_found`.
        """
        link = self._links.get(agent)
        if link is None:
            raise NullBoxError(ErrorCode.NOT_FOUND, f"agent {agent!r} has no network link")
        return link

    def _serve(self, link: Link) -> None:
        """Let the agent ask: judge by the link's grants from now on, and listen if nobody does yet."""
        agent, grants, learn = link.agent, grants_of(link), LEARNING in link.marks
        if self._resolvers is None or self._resolvers.regrant(agent, grants, learn=learn):
            return

        def note(kind: str, name: str, address: str, detail: str) -> None:
            self.events.add(Denial(agent, kind, name, address, "dns", 53, detail), self._wall())

        resolver = AgentResolver(
            grants,
            self.address_rules,
            ask=self._ask,
            pin=lambda name, addresses, seconds: self.pin(agent, name, addresses, seconds),
            report=note,
            clock=self._clock,
            learn=learn,
        )
        self._resolvers.open(link.slot, agent, resolver)

    def _apply(self, commands: list[Command]) -> None:
        """One transaction; if it fails, the model is read back from the kernel, which is right by definition."""
        try:
            self._firewall.apply(commands)
        except NullBoxError:
            self._read_pins()
            raise

    def _read_pins(self) -> None:
        elements = [*self._firewall.elements("grants"), *self._firewall.elements("learners")]
        by_tap = read_pins(elements, self._clock())
        self._pins = {agent: by_tap.get(link.slot.tap, Pins(link.slot.tap)) for agent, link in self._links.items()}

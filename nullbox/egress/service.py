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
from collections.abc import Callable, Collection, Sequence
from typing import Any

from nullbox.egress import report
from nullbox.egress.addresses import AddressRules
from nullbox.egress.destinations import Destinations, no_grant
from nullbox.egress.dns.server import Resolvers
from nullbox.egress.events import Denial, EventLog
from nullbox.egress.expr import Command
from nullbox.egress.links import (
    FIRST_MARK,
    LEARNING,
    Link,
    LinkInfo,
    change,
    read_limits,
    read_links,
    removal,
)
from nullbox.egress.nft import Firewall
from nullbox.egress.policy import LinkPolicy
from nullbox.egress.record import Record
from nullbox.egress.ruleset import Base, base_commands
from nullbox.egress.serving import Ask, Serving, no_upstream
from nullbox.egress.slots import LINK_PREFIX, Slot, allocate
from nullbox.egress.tap import Taps
from nullbox.protocols.errors import ErrorCode, NullBoxError


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
        ask: Ask = no_upstream,
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
        self._serving = Serving(resolvers, self.address_rules, ask, self.pin, self.events, clock, wall)
        self._clock = clock
        self._links: dict[str, Link] = {}
        self._destinations = Destinations()
        self._next_mark = FIRST_MARK
        self._made_all = False
        self._record = Record(firewall, taps, self.events, wall)
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
        self._made_all = not objects
        on_wire = {tap.slot: tap for tap in self._taps.list()}
        with self._lock:
            self._links = {}
            if self._made_all:  # what was not there a moment ago holds nothing
                self._destinations.read([], self._clock())
                return
            for link in self._kernel_links():
                tap, known = on_wire.get(link.slot), link.agent in self._links
                if link.agent and (not known or (tap is not None and tap.agent == link.agent)):
                    self._links[link.agent] = link
            self._next_mark = max([FIRST_MARK, *(int(mark) for mark in self._firewall.elements("generation"))])
            self._read_destinations()
        for link in self._links.values():
            if link.slot in on_wire and on_wire[link.slot].up:
                self._serving.serve(link)

    def open_link(self, agent: str, policy: LinkPolicy, uid: int = 0) -> LinkInfo:
        """Give `agent` its TAP with exactly the grants of `policy`. Repeating it is harmless; a changed policy applies.

        Args:
            uid: the user that may attach to the TAP.

        Raises:
            NullBoxError: `unavailable`, no free slot or the kernel refused; the agent then has no link that is up;
                `denied`, it may not learn.
        """
        self._check(policy)
        with self._lock:
            on_wire = self._taps.list()
            owners = {tap.agent: tap.slot for tap in on_wire if tap.agent}
            owners |= {name: link.slot for name, link in self._links.items()}
            slot = allocate(owners, agent, [tap.slot for tap in on_wire])
            self._taps.create(slot, agent, uid)
            try:
                link = self._grant(agent, slot, policy)
            except NullBoxError:
                if agent not in self._links:
                    self._taps.remove(slot)
                raise
            self._taps.up(slot)
        self._serving.serve(link)
        return LinkInfo(agent, slot.tap, slot.mac, slot.guest, slot.gateway, LINK_PREFIX)

    def change_policy(self, agent: str, policy: LinkPolicy) -> None:
        """Give an agent's link exactly the grants of `policy`; its TAP, which a VM may hold, stays as it is.

        Raises:
            NullBoxError: `not_found`, it has no link; `denied`, it may not learn; `internal`, the kernel refused.
        """
        self._check(policy)
        with self._lock:
            link = self._grant(agent, self.link(agent).slot, policy)
        self._serving.serve(link)

    def close_link(self, agent: str) -> None:
        """Remove the TAP, then the rules. Nothing happens if there is no link."""
        self._serving.close(agent)
        with self._lock:
            mine = self._links.get(agent)
            # The kernel may hold a link that a predecessor made and this service never learnt of.
            for link in [mine] if mine is not None else [each for each in self._kernel_links() if each.agent == agent]:
                self._remove(link)
            for tap in self._taps.list() if mine is None else ():
                if tap.agent == agent:
                    self._taps.remove(tap.slot)

    def close_orphans(self, known_agents: Collection[str]) -> list[str]:
        """Close links whose agents are not among `known_agents`: a farewell may have been lost with its egress."""
        orphans = sorted(set(self._links) - set(known_agents))
        for agent in orphans:
            self.close_link(agent)
        return orphans

    def reconcile(self, known_agents: Collection[str]) -> list[str]:
        """Remove every link and TAP whose owner is not among `known_agents`, and links that have lost their TAP.

        Returns:
            What was removed: agents' names, or the device's name where nobody's name is on it.
        """
        removed = []
        on_wire = {tap.slot: tap for tap in self._taps.list()}
        for link in list(self._links.values()) if self._made_all else self._kernel_links():
            tap = on_wire.get(link.slot)
            mine = self._links.get(link.agent)
            if mine is None or mine.slot != link.slot:
                self._remove(link, with_tap=tap is not None and tap.agent == link.agent)
            elif link.agent not in known_agents or tap is None or tap.agent != link.agent:
                self.close_link(link.agent)
            else:
                continue
            removed.append(link.agent or link.slot.tap)
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
            if link is None:
                raise no_grant(agent, name)
            self._apply(self._destinations.grant(link, name, addresses, seconds, self._clock()))

    def open_for(self, agent: str, address: str, port: int) -> list[str]:
        """The grants (as text) whose fresh answers hold this destination."""
        with self._lock:
            return self._destinations.open_for(self.link(agent), address, port, self._clock())

    def flush_dns(self, agent: str) -> int:
        """Forget the agent's cached answers; how many. What they opened stays open until its time."""
        self.link(agent)
        return self._serving.forget(agent)

    def healthy(self) -> bool:
        """Whether the resolvers' thread answers. Never blocks."""
        return self._serving.healthy()

    def poll(self) -> list[Denial]:
        """Read the kernel's denial record into the event log; what is new."""
        with self._lock:
            if any(LEARNING in link.marks for link in self._links.values()):
                self._destinations.used(self._firewall.elements("learned"))
            return self._record.look({link.slot: link.agent for link in self._links.values()})

    def rules(self, agent: str | None = None) -> dict[str, Any]:
        """What the kernel enforces, for all links or one.

        Raises:
            NullBoxError: `not_found`, there is no such link.
        """
        chosen = [self.link(agent)] if agent is not None else [link for _, link in sorted(self._links.items())]
        return report.rules(self.base, self.address_rules, chosen, self._firewall.elements("live"))

    def learned(self, agent: str) -> dict[str, Any]:
        """What the agent reached since it began to learn, and the `allow` list that it would need."""
        with self._lock:
            link = self.link(agent)
            self._destinations.used(self._firewall.elements("learned"))
            return report.learned(link, self._destinations.use_of(link), self._destinations.names_of(link))

    def link(self, agent: str) -> Link:
        """One agent's link.

        Raises:
            NullBoxError: `not_found`.
        """
        link = self._links.get(agent)
        if link is None:
            raise NullBoxError(ErrorCode.NOT_FOUND, f"agent {agent!r} has no network link")
        return link

    def _check(self, policy: LinkPolicy) -> None:
        if policy.learn and not self.may_learn:
            raise NullBoxError(
                ErrorCode.DENIED, "report-only mode is off: egress.learn = true in nulld.toml permits it"
            )

    def _grant(self, agent: str, slot: Slot, policy: LinkPolicy) -> Link:
        """In one transaction: the new grants, the end of the old, of what they had opened and of their flows."""
        old = self._links.get(agent)
        link, commands, next_mark = change(old, slot, agent, policy, self._next_mark)
        gone = set(old.marks.values()) - set(link.marks.values()) if old is not None else set()
        self._apply([*self._destinations.revoke(link, gone, self._clock()), *commands])
        self._links[agent], self._next_mark = link, next_mark
        return link

    def _apply(self, commands: list[Command]) -> None:
        """One transaction; if it fails, the model is read back from the kernel, which is right by definition."""
        try:
            self._firewall.apply(commands)
        except NullBoxError:
            self._read_destinations()
            raise

    def _remove(self, link: Link, *, with_tap: bool = True) -> None:
        """Take a link down. An agent's second one, or nobody's, may stand for a TAP that is another's by now."""
        with self._lock:
            self.poll()  # while the record still has an agent to belong to
            if with_tap:
                self._taps.remove(link.slot)
            marks = list(link.marks.values())
            self._apply([*self._destinations.revoke(link, marks, self._clock()), *removal(link)])
            self._destinations.forget(link)
            self._record.forget(link.slot)
            if self._links.get(link.agent) == link:
                del self._links[link.agent]

    def _kernel_links(self) -> list[Link]:
        """The links that the kernel holds, whoever made them."""
        elements = self._firewall.elements
        limits = read_limits(self._firewall.objects())
        return read_links(elements("agents"), elements("live"), elements("budgets"), limits)

    def _read_destinations(self) -> None:
        elements = self._firewall.elements
        self._destinations.read([*elements("grants"), *elements("learners")], self._clock())

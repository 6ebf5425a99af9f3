"""Egress without an actor around it: when the ruleset, the TAPs and the resolvers change, and in which order.

The order is the point. The base ruleset, which drops everything, is loaded before any TAP exists. A link's rules are
loaded before its TAP comes up, and its TAP is gone before its rules go. Whatever fails in between leaves less open
than before, never more.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from nullbox.egress.links import FIRST_MARK, Link, change, read_limits, read_links, removal
from nullbox.egress.nft import Firewall
from nullbox.egress.policy import LinkPolicy
from nullbox.egress.ruleset import Base, base_commands
from nullbox.egress.slots import LINK_PREFIX, Slot, allocate
from nullbox.egress.tap import Taps
from nullbox.protocols.errors import ErrorCode, NullBoxError


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What a cage needs to attach an agent: the fields of the message `LinkReady`."""

    agent: str
    tap: str
    mac: str
    guest_address: str
    gateway_address: str
    prefix: int


class EgressService:
    """All links of one machine. Not thread-safe: one caller at a time."""

    def __init__(self, base: Base, firewall: Firewall, taps: Taps) -> None:
        self._base = base
        self._firewall = firewall
        self._taps = taps
        self._links: dict[str, Link] = {}
        self._next_mark = FIRST_MARK

    @property
    def links(self) -> dict[str, Link]:
        return dict(self._links)

    def prepare(self) -> None:
        """Load or renew the base ruleset and learn which links the kernel has. Running agents' flows are untouched.

        Raises:
            NullBoxError: the ruleset cannot be loaded. What was there before is still there.
        """
        objects = self._firewall.objects()
        present = [
            (item[kind]["family"], item[kind]["name"]) for item in objects for kind in ("set", "map") if kind in item
        ]
        self._firewall.apply(base_commands(self._base, present))
        self._taps.enable_forwarding()
        found = read_links(
            self._firewall.elements("agents"),
            self._firewall.elements("live"),
            self._firewall.elements("budgets"),
            read_limits(objects),
        )
        self._links = {link.agent: link for link in found if link.agent}
        self._next_mark = max([FIRST_MARK, *(int(mark) for mark in self._firewall.elements("generation"))])

    def open_link(self, agent: str, policy: LinkPolicy, uid: int = 0) -> LinkInfo:
        """Give `agent` its TAP with exactly the grants of `policy`. Repeating it is harmless; a changed policy applies.

        Args:
            uid: the user that may attach to the TAP.

        Raises:
            NullBoxError: `unavailable`, no free slot or the kernel refused; the agent then has no link that is up.
        """
        old = self._links.get(agent)
        on_wire = self._taps.list()
        owners = {tap.agent: tap.slot for tap in on_wire if tap.agent} | {
            name: link.slot for name, link in self._links.items()
        }
        slot = allocate(owners, agent, [tap.slot for tap in on_wire])
        link, commands, next_mark = change(old, slot, agent, policy, self._next_mark)
        self._taps.create(slot, agent, uid)
        try:
            self._firewall.apply(commands)
        except NullBoxError:
            if old is None:
                self._taps.remove(slot)
            raise
        self._links[agent], self._next_mark = link, next_mark
        self._taps.up(slot)
        return info(slot, agent)

    def close_link(self, agent: str) -> None:
        """Remove the TAP, then the rules. Nothing happens if there is no link."""
        link = self._links.get(agent)
        if link is None:
            for tap in self._taps.list():
                if tap.agent == agent:
                    self._taps.remove(tap.slot)
            return
        self._taps.remove(link.slot)
        self._firewall.apply(removal(link))
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

    def rules(self, agent: str | None = None) -> dict[str, Any]:
        """What the kernel enforces, for people: links with their grants and counters.

        Raises:
            NullBoxError: `not_found`, there is no such link.
        """
        if agent is not None and agent not in self._links:
            raise NullBoxError(ErrorCode.NOT_FOUND, f"agent {agent!r} has no network link")
        traffic = _counters(self._firewall.elements("live"))
        chosen = [link for name, link in sorted(self._links.items()) if agent in (None, name)]
        return {
            "uplinks": list(self._base.uplinks),
            "special": list(self._base.special),
            "links": [
                {
                    "agent": link.agent,
                    "tap": link.slot.tap,
                    "guest": link.slot.guest,
                    "gateway": link.slot.gateway,
                    "calls_per_hour": link.budget,
                    "grants": [
                        {"grant": text, "mark": mark, **traffic.get((link.slot.tap, mark), {})}
                        for text, mark in sorted(link.marks.items())
                    ],
                }
                for link in chosen
            ],
        }


def info(slot: Slot, agent: str) -> LinkInfo:
    return LinkInfo(agent, slot.tap, slot.mac, slot.guest, slot.gateway, LINK_PREFIX)


def _counters(live: list[Any]) -> dict[tuple[str, int], dict[str, int]]:
    """(TAP, mark) → packets and bytes, from a listing of the set `live`."""
    found = {}
    for item in live:
        if isinstance(item, dict) and "elem" in item:
            tap, mark = item["elem"]["val"]["concat"]
            counter = item["elem"].get("counter", {})
            found[(tap, int(mark))] = {"packets": counter.get("packets", 0), "bytes": counter.get("bytes", 0)}
    return found

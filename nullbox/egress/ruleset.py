"""The firewall as a value: what agents may do on the network, compiled to libnftables' JSON. Pure.

The number of rules does not depend on the number of agents; everything that does is an element of a set or map
whose key starts with the interface. A packet of an agent meets, in this order: source check, special-purpose
addresses, flows that are live, grants, denial record, reject. Unlisted traffic falls to a policy of drop.

A grant is an element of `grants`: interface, address, protocol, port → *generation mark*. The first packet of a flow
takes that mark into conntrack; later packets pass while `live` holds interface and mark. So an expired DNS answer
(element of `grants` gone) leaves open flows alone, and a revoked grant (element of `live` gone) cuts them with the next
packet, in the same transaction that removes the grant.

Sources: nft(8), libnftables-json(5), https://wiki.nftables.org; hook priorities: Linux
`include/uapi/linux/netfilter_ipv4.h`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from nullbox.egress import expr as e
from nullbox.egress.chains import ARP_CHAINS, CHAINS
from nullbox.egress.expr import Command
from nullbox.egress.sets import SETS, SOURCES, TABLE
from nullbox.egress.slots import Slot


@dataclass(frozen=True, slots=True)
class Base:
    """What the ruleset needs to know of the machine.

    uplinks: interfaces that lead outside; with none, no agent gets out whatever its grants.
    special: CIDR blocks no grant reaches; must not overlap (libnftables 1.0.6 ignores `auto-merge` in JSON).
    """

    uplinks: tuple[str, ...] = ()
    special: tuple[str, ...] = ()


def base_commands(base: Base, present: Iterable[tuple[str, str]] = ()) -> list[Command]:
    """The transaction that puts the base ruleset in place, or replaces its rules without touching a link's elements.

    Safe to load again over a running table: rules are replaced, sets keep their elements, and no packet ever meets
    a table without its rules, since the kernel switches at the end of the transaction.

    Args:
        present: (family, name) of the sets and maps that exist; they are not declared again.
    """
    known = set(present)
    commands: list[Command] = []
    for family, sets, chains in (("inet", SETS, CHAINS), ("arp", (SOURCES,), ARP_CHAINS)):
        commands.append({"add": {"table": {"family": family, "name": TABLE}}})
        commands.append({"flush": {"table": {"family": family, "name": TABLE}}})
        commands += [spec.command(family) for spec in sets if (family, spec.name) not in known]
        commands += [chain.command(family) for chain in chains]
        commands += [
            {"add": {"rule": {"family": family, "table": TABLE, "chain": chain.name, "expr": list(rule)}}}
            for chain in chains
            for rule in chain.rules
        ]
    for name, members in (("uplinks", list(base.uplinks)), ("special", [prefix(cidr) for cidr in base.special])):
        commands.append({"flush": {"set": {"family": "inet", "table": TABLE, "name": name}}})
        if members:
            commands.append(element("add", name, members))
    return commands


def prefix(cidr: str) -> Any:
    """A CIDR block as libnftables' JSON writes it; a single address stays a string."""
    address, _, length = cidr.partition("/")
    if length in ("", "32"):
        return address
    return {"prefix": {"addr": address, "len": int(length)}}


def element(verb: str, name: str, members: Sequence[Any], family: str = "inet") -> Command:
    """Add or delete elements of one of our sets or maps."""
    return {verb: {"element": {"family": family, "table": TABLE, "name": name, "elem": list(members)}}}


def link_commands(slot: Slot, agent: str, *, verb: str = "add") -> list[Command]:
    """Make a TAP known (`add`) or unknown (`delete`): its agent, its source addresses, its resolver."""
    source = e.concat(slot.tap, slot.mac, slot.guest)
    named: Any = {"elem": {"val": slot.tap, "comment": agent}} if verb == "add" else slot.tap
    return [
        element(verb, "agents", [named]),
        element(verb, "sources", [source]),
        element(verb, "sources", [source], family="arp"),
        element(verb, "resolvers", [e.concat(slot.tap, slot.gateway)]),
    ]

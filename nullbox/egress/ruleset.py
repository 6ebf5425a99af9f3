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
from nullbox.egress.expr import Command, Statement
from nullbox.egress.reasons import Reason
from nullbox.egress.slots import MAX_SLOTS, SUPERNET, TAP_PREFIX, Slot

TABLE = "nullbox"
"""The only table name, in the families `inet` and `arp`, that this package ever names to the kernel."""

ANY_TAP = f"{TAP_PREFIX}*"
DNS_PORT = 53
RESOLVER_PORTS = (853, 5353, 5355)
"""DNS over TLS or QUIC (RFC 7858, RFC 9250), multicast DNS (RFC 6762), LLMNR (RFC 4795)."""

DENIAL_MEMORY_S = 300
MAX_DENIALS = 8192
MAX_FLOWS_PER_AGENT = 512
"""Open flows of one agent, so that one agent cannot fill the connection table that all share."""

TRANSPORTS: dict[str, list[str]] = {"set": ["tcp", "udp"]}


@dataclass(frozen=True, slots=True)
class Base:
    """What the ruleset needs to know of the machine.

    uplinks: interfaces that lead outside; with none, no agent gets out whatever its grants.
    special: CIDR blocks no grant reaches; must not overlap (libnftables 1.0.6 ignores `auto-merge` in JSON).
    """

    uplinks: tuple[str, ...] = ()
    special: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SetSpec:
    """One set or map of the table; `value` makes it a map."""

    name: str
    key: tuple[str, ...]
    value: str | None = None
    timeout: int | None = None
    flags: tuple[str, ...] = ()
    size: int | None = None
    counter: bool = False

    def command(self, family: str = "inet") -> Command:
        body: dict[str, Any] = {"family": family, "table": TABLE, "name": self.name}
        body["type"] = self.key[0] if len(self.key) == 1 else list(self.key)
        if self.value is not None:
            body["map"] = self.value
        if self.flags:
            body["flags"] = list(self.flags)
        if self.timeout is not None:
            body["timeout"] = self.timeout
        if self.size is not None:
            body["size"] = self.size
        if self.counter:
            body["stmt"] = [e.COUNTER]
        return {"add": {"map" if self.value is not None else "set": body}}


FLOW_KEY = ("ifname", "ipv4_addr", "inet_proto", "inet_service")
SOURCES = SetSpec("sources", ("ifname", "ether_addr", "ipv4_addr"))

SETS = (
    SOURCES,
    SetSpec("resolvers", ("ifname", "ipv4_addr")),
    SetSpec("agents", ("ifname",), counter=True),
    SetSpec("uplinks", ("ifname",)),
    SetSpec("special", ("ipv4_addr",), flags=("interval",)),
    SetSpec("grants", FLOW_KEY, value="mark", flags=("timeout",)),
    SetSpec("live", ("ifname", "mark"), counter=True),
    SetSpec("budgets", ("ifname",), value="limit"),
    SetSpec("generation", ("mark",)),
    SetSpec("learners", ("ifname", "ipv4_addr"), value="mark", flags=("timeout",)),
    SetSpec("learned", FLOW_KEY, flags=("timeout",), timeout=DENIAL_MEMORY_S, size=MAX_DENIALS, counter=True),
    SetSpec("flows", ("ifname",), size=MAX_SLOTS),
    SetSpec("dns_rate", ("ifname",), size=MAX_SLOTS),
    SetSpec("record_rate", ("ifname",), size=MAX_SLOTS),
    SetSpec("spoofed", ("ifname",), size=MAX_SLOTS, counter=True),
    SetSpec("denied", (*FLOW_KEY, "mark"), flags=("timeout",), timeout=DENIAL_MEMORY_S, size=MAX_DENIALS, counter=True),
    SetSpec(
        "denied_other",
        ("ifname", "ipv4_addr", "inet_proto", "mark"),
        flags=("timeout",),
        timeout=DENIAL_MEMORY_S,
        size=MAX_DENIALS,
        counter=True,
    ),
)
"""Sets of the `inet` table. `sources` exists in the `arp` table too."""


@dataclass(frozen=True, slots=True)
class ChainSpec:
    """One chain with its rules; `hook` makes it a base chain."""

    name: str
    rules: tuple[tuple[Statement, ...], ...]
    hook: str | None = None
    priority: int = 0
    policy: str = "accept"
    kind: str = "filter"

    def command(self, family: str) -> Command:
        body: dict[str, Any] = {"family": family, "table": TABLE, "name": self.name}
        if self.hook is not None:
            body |= {"type": self.kind, "hook": self.hook, "prio": self.priority, "policy": self.policy}
        return {"add": {"chain": body}}


def _over(rate: int, burst: int) -> Statement:
    return {"limit": {"rate": rate, "per": "second", "burst": burst, "inv": True}}


def _refuse(reason: Reason) -> tuple[Statement, Statement]:
    return (e.set_mark(int(reason)), e.goto("refuse"))


_FROM_AGENT = e.match(e.IIF, ANY_TAP)
_FLOW = (e.IIF, e.DADDR, e.L4PROTO, e.DPORT)
_IS_TRANSPORT = e.match(e.L4PROTO, TRANSPORTS)
_TO_RESOLVER = (
    e.match(e.concat(e.IIF, e.DADDR), "@resolvers"),
    _IS_TRANSPORT,
    e.match(e.DPORT, DNS_PORT),
)
_LIVE = e.state("established", "related")

CHAINS = (
    ChainSpec(
        "hygiene",
        (
            (e.match(e.IIF, ANY_TAP, "!="), e.RETURN),
            (e.match({"meta": {"key": "nfproto"}}, "ipv4", "!="), e.COUNTER, e.DROP),
            # Options serve no agent and have carried source routing and parser bugs (RFC 7126).
            (e.match(e.field("ip", "hdrlength"), 5, "!="), e.COUNTER, e.DROP),
            (
                e.match(e.concat(e.IIF, e.field("ether", "saddr"), e.SADDR), "@sources", "!="),
                e.update("spoofed", e.IIF),
                e.DROP,
            ),
            # Without a conntrack entry per question, no agent fills the table by asking.
            (*_TO_RESOLVER, e.NOTRACK),
        ),
        hook="prerouting",
        priority=-300,
    ),
    ChainSpec(
        "answers",
        (
            (
                e.match(e.concat(e.OIF, e.SADDR), "@resolvers"),
                _IS_TRANSPORT,
                e.match(e.SPORT, DNS_PORT),
                e.NOTRACK,
            ),
        ),
        hook="output",
        priority=-300,
    ),
    ChainSpec(
        "record",
        (
            # A port scan of one agent must not push the others' denials out of the record.
            (e.update("record_rate", e.IIF, _over(50, 500)), e.RETURN),
            (_IS_TRANSPORT, e.update("denied", e.concat(*_FLOW, e.PACKET_MARK)), e.RETURN),
            (e.update("denied_other", e.concat(e.IIF, e.DADDR, e.L4PROTO, e.PACKET_MARK)),),
        ),
    ),
    ChainSpec(
        "refuse",
        (
            (e.jump("record"),),
            ({"limit": {"rate": 10, "per": "second", "burst": 20}}, {"log": {"prefix": "nullbox denied: "}}),
            (e.match(e.L4PROTO, "tcp"), {"reject": {"type": "tcp reset"}}),
            ({"reject": {"type": "icmpx", "expr": "admin-prohibited"}},),
        ),
    ),
    ChainSpec(
        "from_agent_to_host",
        (
            (e.match(e.IIF, "@agents"),),
            (*_TO_RESOLVER, e.update("dns_rate", e.IIF, _over(2000, 2000)), e.DROP),
            (*_TO_RESOLVER, e.ACCEPT),
            # Answers to what the host began: health checks.
            (_LIVE, e.direction("reply"), e.ACCEPT),
            _refuse(Reason.HOST),
        ),
    ),
    ChainSpec(
        "input",
        (
            (e.match(e.IIF, "lo"), e.ACCEPT),
            (_FROM_AGENT, e.goto("from_agent_to_host")),
            (_LIVE, e.ACCEPT),
        ),
        hook="input",
        policy="drop",
    ),
    ChainSpec(
        "granted",
        (
            # An element of `grants` may outlive its grant by a moment; the mark decides.
            (e.match(e.concat(e.IIF, e.CT_MARK), "@live", "!="), *_refuse(Reason.NO_GRANT)),
            ({"limit": {"map": {"key": e.IIF, "data": "@budgets"}}}, *_refuse(Reason.CALL_BUDGET)),
            (
                e.update("flows", e.IIF, {"ct count": {"val": MAX_FLOWS_PER_AGENT, "inv": True}}, op="add"),
                *_refuse(Reason.FLOW_LIMIT),
            ),
            (e.ACCEPT,),
        ),
    ),
    ChainSpec(
        "from_agent_out",
        (
            (e.match(e.IIF, "@agents"),),
            (e.match(e.DADDR, "@special"), *_refuse(Reason.SPECIAL_ADDRESS)),
            (_IS_TRANSPORT, e.match(e.DPORT, {"set": list(RESOLVER_PORTS)}), *_refuse(Reason.RESOLVER_PORT)),
            (_LIVE, e.direction("original"), e.match(e.concat(e.IIF, e.CT_MARK), "@live"), e.ACCEPT),
            (
                e.match(e.OIF, "@uplinks"),
                e.state("new"),
                {"mangle": {"key": e.CT_MARK, "value": {"map": {"key": e.concat(*_FLOW), "data": "@grants"}}}},
                e.goto("granted"),
            ),
            (
                e.match(e.OIF, "@uplinks"),
                e.state("new"),
                {
                    "mangle": {
                        "key": e.CT_MARK,
                        "value": {"map": {"key": e.concat(e.IIF, e.DADDR), "data": "@learners"}},
                    }
                },
                _IS_TRANSPORT,
                e.update("learned", e.concat(*_FLOW)),
                e.goto("granted"),
            ),
            _refuse(Reason.NO_GRANT),
        ),
    ),
    ChainSpec(
        "to_agent",
        ((_LIVE, e.direction("reply"), e.match(e.concat(e.OIF, e.CT_MARK), "@live"), e.ACCEPT),),
    ),
    ChainSpec(
        "forward",
        (
            (_FROM_AGENT, e.goto("from_agent_out")),
            (e.match(e.OIF, ANY_TAP), e.goto("to_agent")),
        ),
        hook="forward",
        policy="drop",
    ),
    ChainSpec(
        "translate",
        (
            (
                e.match(e.SADDR, {"prefix": {"addr": SUPERNET.split("/")[0], "len": 16}}),
                e.match(e.OIF, "@uplinks"),
                {"masquerade": None},
            ),
        ),
        hook="postrouting",
        priority=100,
        kind="nat",
    ),
)
"""Chains of the `inet` table, each after the chains it jumps to."""

ARP_CHAINS = (
    ChainSpec(
        "input",
        (
            (e.match(e.IIF, ANY_TAP, "!="), e.ACCEPT),
            (
                e.match(e.concat(e.IIF, e.field("arp", "saddr ether"), e.field("arp", "saddr ip")), f"@{SOURCES.name}"),
                e.ACCEPT,
            ),
        ),
        hook="input",
        policy="drop",
    ),
)
"""An agent can announce its own address and nobody else's."""


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

"""The rules, as a table of chains. Their number does not depend on the number of agents. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nullbox.egress import expr as e
from nullbox.egress.expr import Command, Statement
from nullbox.egress.reasons import Reason
from nullbox.egress.sets import SOURCES, TABLE
from nullbox.egress.slots import SUPERNET, TAP_PREFIX

ANY_TAP = f"{TAP_PREFIX}*"
DNS_PORT = 53
RESOLVER_PORTS = (853, 5353, 5355)
"""DNS over TLS or QUIC (RFC 7858, RFC 9250), multicast DNS (RFC 6762), LLMNR (RFC 4795)."""

MAX_FLOWS_PER_AGENT = 512
"""Open flows of one agent, so that one agent cannot fill the connection table that all share."""

TRANSPORTS: dict[str, list[str]] = {"set": ["tcp", "udp"]}


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
            (e.match(e.field("ip", "hdrlength"), 5, "!="), e.update("options", e.IIF), e.DROP),
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
            (*_TO_RESOLVER, e.update("dns_rate", e.IIF, _over(5000, 5000)), e.DROP),
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

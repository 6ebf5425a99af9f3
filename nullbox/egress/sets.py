"""The sets and maps of the ruleset, as a table. Pure.

All that differs from agent to agent is an element here, keyed by the interface first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nullbox.egress import expr as e
from nullbox.egress.expr import Command
from nullbox.egress.slots import MAX_SLOTS

TABLE = "nullbox"
"""The only table name, in the families `inet` and `arp`, that this package ever names to the kernel."""

DENIAL_MEMORY_S = 300
MAX_DENIALS = 8192


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
    SetSpec("options", ("ifname",), size=MAX_SLOTS, counter=True),
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

_PROTOCOLS = {1: "icmp", 6: "tcp", 17: "udp"}


def protocol_name(listed: object) -> str:
    """The name of a protocol as libnftables lists it: a name where /etc/protocols is, a number where it is not."""
    return _PROTOCOLS.get(listed, str(listed)) if isinstance(listed, int) else str(listed)

"""Denials, counted and bounded: what `egress log` shows. Pure but for a lock."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from nullbox.egress.reasons import TEXT, Reason
from nullbox.egress.sets import protocol_name
from nullbox.egress.slots import Slot, slot_of_tap

MAX_EVENTS = 1024


@dataclass(frozen=True, slots=True)
class Denial:
    """Something an agent was refused.

    kind: `packet`, `call budget`, `flow limit`, `spoofed`, `options`, `ipv6`, or what the resolver says (`unlisted
        name`, `rebinding`, …).
    count: how often, since the first time; `first` and `last` are Unix times in seconds.
    seq: grows with every change, so that a follower can ask for what is new.
    """

    agent: str
    kind: str
    name: str = ""
    address: str = ""
    protocol: str = ""
    port: int = 0
    reason: str = ""
    count: int = 1
    first: float = 0.0
    last: float = 0.0
    seq: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class EventLog:
    """The latest denials; equal ones are one entry with a count. The oldest go first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[object, ...], Denial] = OrderedDict()
        self._seq = 0
        self._lock = threading.Lock()

    def add(self, denial: Denial, now: float) -> None:
        key = (denial.agent, denial.kind, denial.name, denial.address, denial.protocol, denial.port, denial.reason)
        with self._lock:
            self._seq += 1
            old = self._entries.pop(key, None)
            self._entries[key] = replace(
                denial,
                count=denial.count + (old.count if old else 0),
                first=old.first if old else now,
                last=now,
                seq=self._seq,
            )
            while len(self._entries) > MAX_EVENTS:
                self._entries.popitem(last=False)

    def since(self, seq: int = 0, agent: str | None = None) -> list[Denial]:
        """Entries that changed after `seq`, oldest change first."""
        with self._lock:
            return [one for one in self._entries.values() if one.seq > seq and agent in (None, one.agent)]


KINDS = {Reason.CALL_BUDGET: "call budget", Reason.FLOW_LIMIT: "flow limit"}
"""Reasons that say nothing about where a packet went have a kind of their own."""

KERNEL_KINDS = ("packet", *KINDS.values(), "spoofed", "options", "ipv6")
"""All kinds of denials that come from the kernel; the resolver has its own."""

SPOOFED = "the source address or MAC is not the agent's own"
OPTIONS = "IPv4 options serve no agent"
IPV6 = "agents have IPv4 only; every IPv6 packet of theirs is dropped"


def read_denials(
    sets: Mapping[str, Iterable[Any]], ipv6: Mapping[Slot, int], agents: Mapping[Slot, str]
) -> dict[tuple[object, ...], tuple[Denial, int]]:
    """The kernel's own record as denials with packet counts.

    Args:
        sets: the listings of those in `RECORDS`, by name.
        ipv6: link → IPv6 packets that the kernel has dropped.

    Returns:
        Key of the element → the denial and the packets counted so far.
    """
    found: dict[tuple[object, ...], tuple[Denial, int]] = {}

    def add(tap: str, denial: Denial, count: int) -> None:
        slot = slot_of_tap(tap)
        owner = agents.get(slot, tap) if slot is not None else tap
        key = (tap, denial.kind, denial.address, denial.protocol, denial.port, denial.reason)
        found[key] = (replace(denial, agent=owner), count)

    for item in sets["denied"]:
        tap, address, protocol, port, mark = item["elem"]["val"]["concat"]
        add(tap, Denial("", _kind(mark), "", address, protocol_name(protocol), int(port), _reason(mark)), _count(item))
    for item in sets["denied_other"]:
        tap, address, protocol, mark = item["elem"]["val"]["concat"]
        add(tap, Denial("", _kind(mark), "", address, protocol_name(protocol), 0, _reason(mark)), _count(item))
    for name, why in (("spoofed", SPOOFED), ("options", OPTIONS)):
        for item in sets[name]:
            add(item["elem"]["val"], Denial("", name, reason=why), _count(item))
    for slot, count in ipv6.items():
        if count:
            add(slot.tap, Denial("", "ipv6", protocol="ipv6", reason=IPV6), count)
    return found


RECORDS = ("denied", "denied_other", "spoofed", "options")
"""The kernel's sets that hold what was refused."""


def _count(item: Any) -> int:
    return int(item["elem"].get("counter", {}).get("packets", 0))


def _kind(mark: object) -> str:
    try:
        return KINDS.get(Reason(int(str(mark), 0)), "packet")
    except ValueError:
        return "packet"


def _reason(mark: object) -> str:
    try:
        return TEXT[Reason(int(str(mark), 0))]
    except ValueError:
        return f"reason {mark}"


class Deltas:
    """Turns counters that only grow (until their element expires) into what is new since the last look."""

    def __init__(self) -> None:
        self._before: dict[tuple[object, ...], int] = {}

    def new(self, counts: Mapping[tuple[object, ...], tuple[Denial, int]]) -> list[Denial]:
        fresh = []
        for key, (denial, count) in counts.items():
            before = self._before.get(key, 0)
            # An element that expired and came back starts over.
            more = count - before if count >= before else count
            if more > 0:
                fresh.append(replace(denial, count=more))
        self._before = {key: count for key, (_, count) in counts.items()}
        return fresh

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

    kind: `packet`, `spoofed`, or what the resolver says (`unlisted name`, `rebinding`, …).
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


def read_denials(
    denied: Iterable[Any], other: Iterable[Any], spoofed: Iterable[Any], agents: Mapping[Slot, str]
) -> dict[tuple[object, ...], tuple[Denial, int]]:
    """The kernel's own record as denials with packet counts, from listings of its three sets.

    Returns:
        Key of the element → the denial and the packets counted so far.
    """
    found: dict[tuple[object, ...], tuple[Denial, int]] = {}
    for item in denied:
        tap, address, protocol, port, mark = item["elem"]["val"]["concat"]
        _add(
            found,
            item,
            agents,
            tap,
            Denial("", "packet", "", address, protocol_name(protocol), int(port), _reason(mark)),
        )
    for item in other:
        tap, address, protocol, mark = item["elem"]["val"]["concat"]
        _add(found, item, agents, tap, Denial("", "packet", "", address, protocol_name(protocol), 0, _reason(mark)))
    for item in spoofed:
        tap = item["elem"]["val"]
        _add(found, item, agents, tap, Denial("", "spoofed", reason="the source address or MAC is not the agent's own"))
    return found


def _reason(mark: object) -> str:
    try:
        return TEXT[Reason(int(str(mark), 0))]
    except ValueError:
        return f"reason {mark}"


def _add(
    found: dict[tuple[object, ...], tuple[Denial, int]],
    item: Any,
    agents: Mapping[Slot, str],
    tap: str,
    denial: Denial,
) -> None:
    slot = slot_of_tap(tap)
    owner = agents.get(slot, tap) if slot is not None else tap
    key = (tap, denial.kind, denial.address, denial.protocol, denial.port, denial.reason)
    found[key] = (replace(denial, agent=owner), int(item["elem"].get("counter", {}).get("packets", 0)))


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

"""What a campaign saw: which faults were taken where, how long recovery took, which ways of recovery were reached."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nullbox.chaos.steps import PLACES

COMMON = frozenset(
    {
        "actor replaced",
        "VM adopted",
        "VM replaced",
        "end: crash",
        "end: signal",
        "end: timeout",
        "end: failed",
        "backoff",
        "starts over with its dependency",
        "killed: no answer to heartbeats",
        "PID 1: starts the actor system again",
        "PID 1: kills a silent actor system",
    }
)
"""Ways of recovery that any two hundred schedules reach."""
RARE = frozenset(
    {
        "killed: not ready",
        "PID 1: an error of its own",
        "PID 1: a start that fails",
        "several faults",
    }
)
"""Those that a long campaign reaches, too."""


PID1_WAYS = {
    "starting it again": "PID 1: starts the actor system again",
    "it gave no sign of life": "PID 1: kills a silent actor system",
    "it did not come up in time": "PID 1: kills a silent actor system",
    "PID 1: ": "PID 1: an error of its own",
    "could not be started": "PID 1: a start that fails",
}


def way_of(event: Mapping[str, Any]) -> str:
    """Which way of recovery an event of a supervisor tells of; empty for none."""
    kind = event["kind"]
    if kind == "exit":
        if event["intent"] is None:
            return f"end: {event['reason']}"
        return "starts over with its dependency" if event["intent"] == "again" else ""
    if kind == "killed":
        return "killed: no answer to heartbeats" if "heartbeat" in event["detail"] else "killed: not ready"
    if kind == "state" and event["to"] == "backoff":
        return "backoff"
    return kind if kind in ("limit", "orphan", "escalation") else ""


@dataclass(slots=True)
class Report:
    """taken: by point, moment and fault. late: recoveries that took longer than promised. recoveries: in seconds, from
    the last fault of a schedule. beyond: the same without the configured silence after which a hang is noticed; the
    promise is about that. seen: ways of recovery."""

    schedules: int = 0
    writes: int = 0
    taken: Counter[str] = field(default_factory=Counter)
    unreached: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    beyond: list[float] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)

    def add(self, other: Report) -> None:
        self.schedules += other.schedules
        self.writes += other.writes
        self.taken += other.taken
        self.unreached += other.unreached
        self.late += other.late
        self.recoveries += other.recoveries
        self.beyond += other.beyond
        self.seen += other.seen

    @property
    def faults(self) -> int:
        return sum(self.taken.values())

    @property
    def places(self) -> set[str]:
        """The fail points at which some fault was taken."""
        return {key.partition(" ")[2] for key in self.taken}

    def summary(self) -> str:
        return (
            f"{self.schedules} schedules, {self.faults} faults taken ({len(self.taken)} different) at "
            f"{len(self.places)} of {len(PLACES)} fail points, {len(self.unreached)} not reached; "
            f"recovery p50 {percentile(self.recoveries, 0.5):.2f} s, p99 {percentile(self.recoveries, 0.99):.2f} s "
            f"({percentile(self.beyond, 0.99):.2f} s beyond the configured silence), "
            f"longest {percentile(self.recoveries, 1.0):.2f} s, {len(self.late)} late; "
            f"{self.writes} acknowledged writes are there; seen: "
            + ", ".join(f"{name} × {count}" for name, count in sorted(self.seen.items()))
        )

    def to_line(self) -> str:
        """For a file of reports, one a line."""
        return json.dumps({name: getattr(self, name) for name in self.__slots__})


def percentile(values: Iterable[float], share: float) -> float:
    """The value that this share of them does not exceed; 0 of none."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def from_lines(lines: Iterable[str]) -> Report:
    """One report of all that `to_line` wrote."""
    total = Report()
    for line in lines:
        plain: dict[str, Any] = json.loads(line)
        total.add(Report(**{**plain, "taken": Counter(plain["taken"]), "seen": Counter(plain["seen"])}))
    return total

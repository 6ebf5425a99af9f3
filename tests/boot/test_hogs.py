"""A guest that takes all the processor and memory it can get costs the others nothing that they were promised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from operator_view import Machine, until

LEAST = 0.9
"""Share of what it had alone that the counting agent keeps."""
LEAST_EMULATED = 0.75
"""The same of what it counts, with slack for an emulated processor, where 0.87 was measured once; why is not known."""
SECONDS = 10.0
"""Of the machine's clock, for one measurement."""


@dataclass(frozen=True)
class Reading:
    """count: how far the counting agent has come. cpu: seconds of processor time that it used. at: in seconds."""

    count: int
    cpu: float
    at: float

    @classmethod
    def take(cls, machine: Machine) -> Reading:
        newest = written(machine, "counter.n")[-1]
        used = machine.json("agent", "stats", "counter")["stats"]["cpu_usec"]
        return cls(newest["value"], used / 1e6, newest["ts_ns"] / 1e9)


def written(machine: Machine, key: str) -> list[dict[str, Any]]:
    return list(machine.json("ctx", "query", key)["entries"])


def speed(machine: Machine) -> tuple[float, float]:
    """How far the counting agent comes in a second, and how much processor time it gets, from two readings that lie
    `SECONDS` apart."""
    first = Reading.take(machine)

    def later() -> Reading | None:
        now = Reading.take(machine)
        return now if now.at - first.at >= SECONDS else None

    last = until(later, seconds=12 * SECONDS, what="the counting agent to go on", every=1.0)
    passed = last.at - first.at
    return (last.count - first.count) / passed, (last.cpu - first.cpu) / passed


@pytest.mark.slow
@pytest.mark.usefixtures("still")
def test_a_hog_leaves_the_others_their_speed(machine: Machine) -> None:
    machine.ok("agent", "start", "counter")
    until(lambda: len(written(machine, "counter.n")) > 1, seconds=180, what="the counting agent", every=1.0)
    alone, cpu_alone = speed(machine)
    machine.ok("agent", "start", "hog")
    until(lambda: written(machine, "hog.bombs"), seconds=180, what="the hog's first memory bomb", every=1.0)
    beside, cpu_beside = speed(machine)
    used = machine.json("agent", "stats", "hog")["stats"]
    print(f"alone: {alone:.0f} a second with {cpu_alone:.3f} of a processor")
    print(f"beside the hog: {beside:.0f} ({beside / alone:.2f}) with {cpu_beside:.3f} ({cpu_beside / cpu_alone:.2f})")
    print(f"the hog: {used}")
    assert cpu_beside >= LEAST * cpu_alone
    assert beside >= (LEAST_EMULATED if "emulation" in machine.acceleration else LEAST) * alone
    assert machine.agent_state("hog") == "running"
    assert used["oom_kills"] == 0, "it meets the end of its guest's memory, not of the machine's"
    for name in ("hog", "counter"):
        machine.ok("agent", "stop", name)

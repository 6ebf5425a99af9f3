"""A guest that takes all the processor and memory it can get costs the others nothing that they were promised."""

from __future__ import annotations

from typing import Any

import pytest
from operator_view import Machine, until

LEAST = 0.9
"""Share of its speed that the counting agent keeps."""
SECONDS = 10.0
"""Of the machine's clock, for one measurement."""


def written(machine: Machine, key: str) -> list[dict[str, Any]]:
    return list(machine.json("ctx", "query", key)["entries"])


def speed(machine: Machine) -> float:
    """How far the counting agent comes in a second, from two of its entries that lie `SECONDS` apart."""
    first = written(machine, "counter.n")[-1]

    def later() -> dict[str, Any] | None:
        newest = written(machine, "counter.n")[-1]
        return newest if newest["ts_ns"] - first["ts_ns"] >= SECONDS * 1e9 else None

    last = until(later, seconds=12 * SECONDS, what="the counting agent to go on", every=1.0)
    return float((last["value"] - first["value"]) / ((last["ts_ns"] - first["ts_ns"]) / 1e9))


@pytest.mark.usefixtures("still")
def test_a_hog_leaves_the_others_their_speed(machine: Machine) -> None:
    machine.ok("agent", "start", "counter")
    until(lambda: len(written(machine, "counter.n")) > 1, seconds=180, what="the counting agent", every=1.0)
    alone = speed(machine)
    machine.ok("agent", "start", "hog")
    until(lambda: written(machine, "hog.bombs"), seconds=180, what="the hog's first memory bomb", every=1.0)
    beside = speed(machine)
    used = machine.json("agent", "stats", "hog")
    print(f"{alone:.0f} a second alone, {beside:.0f} beside the hog ({beside / alone:.2f}), which used {used}")
    assert beside >= LEAST * alone
    assert machine.agent_state("hog") == "running"
    assert used["oom_kills"] == 0, "it meets the end of its guest's memory, not of the machine's"
    for name in ("hog", "counter"):
        machine.ok("agent", "stop", name)

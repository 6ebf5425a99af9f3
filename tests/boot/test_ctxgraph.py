"""Shared memory between agents in VMs of their own: nothing is lost when its actor is killed."""

from __future__ import annotations

import pytest
from operator_view import Machine, until

COUNT = 500
"""Entries of each of the two; see `agents/alice/main.py`."""


def written(machine: Machine, agents: tuple[str, ...]) -> int:
    """Records of these agents so far."""
    counted = machine.json("ctx", "agents")
    return sum(row["entries"] for row in counted if row["agent_id"] in agents)


@pytest.mark.usefixtures("still")
def test_two_agents_exchange_entries_and_nothing_is_lost_when_the_store_is_killed(machine: Machine) -> None:
    pair = ("alice", "bob")
    for name in pair:
        machine.ok("agent", "start", name)
    until(lambda: written(machine, pair) >= COUNT // 2, seconds=180, what="a part of the exchange", every=0.5)
    before = machine.node("ctxgraph")
    machine.kill("ctxgraph")
    until(
        lambda: (
            (node := machine.node("ctxgraph"))["state"] == "running" and node["incarnation"] > before["incarnation"]
        ),
        seconds=60,
        what="ctxgraph after its SIGKILL",
    )
    assert written(machine, pair) < 2 * COUNT, "the kill came in the middle of the exchange"
    for name in pair:
        machine.until_state(name, "stopped")
        assert machine.node(f"cage:{name}")["last_exit"]["code"] == 0
    for name in pair:
        result = machine.json("ctx", "latest", f"exchanged.{name}")["value"]
        assert result["heard"] == list(range(1, COUNT + 1)), "each entry of the other once, in order"
        assert result["written"] == COUNT
    found = machine.json("ctx", "query", "exchange.", "--limit", "1000")["entries"]
    keys = {entry["key"] for entry in found}
    assert keys == {f"exchange.{name}.{number:04}" for name in pair for number in range(1, COUNT + 1)}
    assert len(found) == len(keys), "no entry is there twice"
    assert all(entry["key"].split(".")[1] == entry["agent_id"] for entry in found)
    assert machine.json("ctx", "verify")["ok"]

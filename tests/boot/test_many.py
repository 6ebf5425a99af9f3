"""Many agents that are started at once all get to run, since the system lets only a few of them start together."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from many_agents import deployed, run_all
from operator_view import Machine

AGENTS = 8
"""`make bench` has 50 in a machine of 8 GB. An emulated guest takes some 11 s to boot, all of it processor time."""


@pytest.mark.slow
@pytest.mark.usefixtures("still")
def test_eight_agents_of_64_mb_run(machine: Machine, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    names = deployed(machine, tmp_path, AGENTS)
    took = run_all(machine, names, seconds=400)
    print("each was running after", ", ".join(f"{seconds:.1f} s" for seconds in took))
    assert {machine.agent_state(name) for name in names} == {"paused"}
    for name in names:
        machine.ok("agent", "remove", name)

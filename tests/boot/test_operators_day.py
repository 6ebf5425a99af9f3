"""An operator's day in a booted machine. (It ends in test_zz_power.)"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import operators_day
import pytest
from operator_view import Machine, until


@pytest.fixture
def alone(machine: Machine) -> Iterator[None]:
    """The sample agents paused: an emulated processor has no time for more VMs at once."""
    for name in ("pulse", "reader"):
        until(
            lambda name=name: machine.agent_state(name) == "running",  # type: ignore[misc]
            seconds=operators_day.LONG,
            what=f"{name} running",
        )
        machine.ok("agent", "pause", name)
    yield
    for name in ("pulse", "reader"):
        machine.ok("agent", "resume", name)


@pytest.mark.usefixtures("alone")
def test_an_operators_day(machine: Machine, tmp_path: Path) -> None:
    operators_day.spend(machine, tmp_path)

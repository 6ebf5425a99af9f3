"""One booted machine for all boot tests, with the sample agents and the agents of `tests/boot/agents`.

The tests talk to it as an operator does: through `nullctl` as a process of its own. They wait for states, never for
time to pass; every wait has a deadline, generous because the machine may be emulated.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from operator_view import Machine, booted, until

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """The test image, booted once."""
    with booted(ROOT / "build", tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@pytest.fixture
def still(machine: Machine) -> Iterator[None]:
    """The sample agents paused: an emulated processor has no time for more than two VMs at once."""
    for name in ("pulse", "reader"):
        until(lambda name=name: machine.agent_state(name) == "running", seconds=180, what=f"{name} running")  # type: ignore[misc]
        machine.ok("agent", "pause", name)
    yield
    for name in ("pulse", "reader"):
        machine.ok("agent", "resume", name)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.boot)
            item.add_marker(pytest.mark.timeout(600))

"""One booted machine for all boot tests, with the sample agents and the agents of `tests/boot/agents`.

The tests talk to it as an operator does: through `nullctl` as a process of its own. They wait for states, never for
time to pass; every wait has a deadline, generous because the machine may be emulated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import netlab
import netspace
import outside
import pytest
import wire
from operator_view import Machine, booted

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def far_end(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[wire.Wire | None]:
    """Where the machine's network card leads: a namespace of ours without a way out. None: it has no card, since no
    test of this run wants one, or since there can be no namespace."""
    wanted = any("internet" in getattr(item, "fixturenames", ()) for item in request.session.items)
    if netspace.missing() or not wanted:
        yield None
        return
    with wire.laid(tmp_path_factory.mktemp("wire"), f"{netlab.INTERNET}/24") as laid:
        yield laid


@pytest.fixture(scope="session")
def internet(far_end: wire.Wire) -> Iterator[outside.Outside]:
    """Servers at the far end."""
    with contextlib.closing(outside.Outside(far_end)) as servers:
        yield servers


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory, far_end: wire.Wire | None) -> Iterator[Machine]:
    """The test image, booted once."""
    path = far_end.path if far_end is not None else None
    append = (f"nullbox.uplink={outside.UPLINK}",) if far_end is not None else ()
    with booted(ROOT / "build", tmp_path_factory.mktemp("machine"), wire=path, append=append) as machine:
        yield machine


@pytest.fixture
def still(machine: Machine) -> Iterator[None]:
    """The sample agents paused."""
    with machine.paused("pulse", "reader"):
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.boot)
            item.add_marker(pytest.mark.timeout(600))

"""Fixtures for tests of the actor runtime with real processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import system_processes

from nullbox.testing import Processes, processes


@pytest.fixture
def system(no_orphans: None) -> Iterator[Processes]:
    with processes() as harness:
        yield harness


@pytest.fixture
def directory(system: Processes) -> Path:
    return system.system._transport.place.directory


@pytest.fixture
def no_orphans() -> Iterator[None]:
    """Fails a test that leaves a process behind."""
    system_processes.adopt_orphans()
    before = system_processes.children()
    yield
    assert system_processes.collect_orphans(before, 3.0) == []

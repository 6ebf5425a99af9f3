"""Fixtures of the namespace tests. Without root or namespaces they are skipped, and say so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import netlab
import netspace
import pytest

REASON = netspace.missing()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.net)
            if REASON:
                item.add_marker(pytest.mark.skip(reason=REASON))


@pytest.fixture
def lab() -> Iterator[netlab.Lab]:
    """The network with the base ruleset loaded and no link open."""
    with netlab.Lab() as built:
        built.host.call("prepare")
        yield built


@pytest.fixture
def open_lab() -> Iterator[netlab.Lab]:
    """The twin: same cables, same addresses, forwarding on, no rules."""
    with netlab.Lab() as built:
        built.host.call("unprotected", range(built.agents))
        yield built

"""What is booted before or without the system: by firmware, or only as far as the root. After `tests/boot`, whose
machine has been powered off by then."""

from __future__ import annotations

from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.boot)
            item.add_marker(pytest.mark.timeout(600))

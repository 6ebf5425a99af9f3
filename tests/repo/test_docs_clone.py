"""CONTRIBUTING, followed from a clone to the first green test."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from doc_commands import ROOT, Shell, commands

MOST_SECONDS = 300.0
"""What CONTRIBUTING promises, from the clone to the first green test."""

CLONE = "git clone … && cd nullbox"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_from_a_clone_to_a_green_test(tmp_path: Path) -> None:
    first, *rest = [command.text for command in commands(ROOT / "CONTRIBUTING.md")]
    assert first == CLONE
    began = time.monotonic()
    took = 0.0
    with Shell(tmp_path, {"NULLBOX_FULL": ""}) as shell:
        for text in (CLONE.replace("…", f"--quiet file://{ROOT}"), *rest):
            output, status = shell.run(text, 900)
            assert status == 0, f"{text}\n{output}"
            if text == "make test-fast":
                took = time.monotonic() - began
    assert 0 < took <= MOST_SECONDS

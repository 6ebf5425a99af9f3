"""The pages that a reader follows command by command, followed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from doc_commands import ROOT, Command, Shell, differs, follow, on_a_running_system, steps
from operator_view import Machine, until

from nullbox.host.run import RunFolder

BIN = Path(sys.executable).parent


@pytest.fixture
def shell(machine: Machine, tmp_path: Path) -> Iterator[Shell]:
    """A reader's shell beside the machine of all boot tests, both sample agents running."""
    for name in ("pulse", "reader"):
        machine.until_state(name, "running")
    environment = {
        "NULLD_SOCKET": str(machine.folder.socket),
        "PATH": f"{BIN}:{os.environ['PATH']}",
        "NO_COLOR": "1",
    }
    with Shell(tmp_path, environment) as shell:
        yield shell


def test_operations(shell: Shell, tmp_path: Path) -> None:
    follow(shell, tmp_path, on_a_running_system(ROOT / "docs" / "operations.md"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_tutorial(shell: Shell, tmp_path: Path) -> None:
    """Three boots of a VM, one after the other: minutes where they are emulated. tests/net has it without VMs."""
    follow(shell, tmp_path, on_a_running_system(ROOT / "docs" / "tutorial.md"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_quick_start_from_make_run_to_make_stop() -> None:
    """In the checkout itself, with a boot of its own: make, kernel, image, machine, as a reader does it."""
    todo = steps(ROOT / "docs" / "quickstart.md")
    assert [step.text for step in todo if isinstance(step, Command)][-1] == "make stop"
    (shown,) = [step for step in steps(ROOT / "README.md") if isinstance(step, Command) and step.output]
    with Shell(ROOT, {"NO_COLOR": "1"}) as shell:
        try:
            output, status = shell.run(f"{shown.text} DETACH=1", 1500)
            assert status == 0, output
            assert differs(shown.output or (), output) is None, differs(shown.output or (), output)
            # A person has read the paragraphs between by then; an emulated agent begins some seconds after `running`.
            there = Machine(RunFolder(ROOT / "build" / "run"), "", 0.0)
            until(lambda: there.nullctl("ctx", "latest", "reader.summary").code == 0, seconds=180, what="a summary")
            follow(shell, ROOT, [step for step in todo if step.text != f"{shown.text} DETACH=1"], 600)
        finally:
            shell.run("make stop", 120)

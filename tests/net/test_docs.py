"""The pages that a reader follows command by command, followed on a system in namespaces of this host.

The same pages run in tests/boot/test_docs.py on a booted machine, with agents in microVMs; here agents are processes.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from doc_commands import ROOT, Command, File, Shell, follow, steps
from hosted_system import LONG, Up, eventually

from nullbox.host.hosted import cgroup_mount

pytestmark = pytest.mark.skipif(
    cgroup_mount(Path("/proc/self/mountinfo").read_text()) is None, reason="needs cgroup v2 (mount -t cgroup2)"
)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """An instance with the sample agents."""
    with tempfile.TemporaryDirectory(prefix="nbup") as folder:
        up = Up(Path(folder), ROOT / "agents")
        try:
            yield up.ready()
        finally:
            up.close()


@pytest.fixture
def shell(up: Up, tmp_path: Path) -> Iterator[Shell]:
    for name in ("pulse", "reader"):
        eventually(lambda name=name: up.agent(name)["state"] == "running", f"{name} does not run")
    eventually(lambda: up.nulld.ctx_latest("reader.summary"), "reader writes no summary")
    environment = {
        "NULLD_SOCKET": str(up.hosted.socket),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NO_COLOR": "1",
    }
    with Shell(tmp_path, environment) as shell:
        yield shell


def of_this_system(page: str) -> list[Command | File]:
    """Without what starts and stops the machine, and finds its socket."""
    return [
        step
        for step in steps(ROOT / "docs" / page)
        if isinstance(step, File) or not step.text.startswith(("make ", "export ", "sudo ", "nullctl --socket "))
    ]


@pytest.mark.parametrize("page", ["quickstart.md", "operations.md", "tutorial.md"])
def test_the_commands_of_a_page(page: str, shell: Shell, tmp_path: Path) -> None:
    todo = of_this_system(page)
    assert len(todo) > 8
    follow(shell, tmp_path, todo, LONG)

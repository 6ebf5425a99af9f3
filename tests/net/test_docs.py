"""The pages that a reader follows command by command, followed on a system in namespaces of this host.

The same pages run in tests/boot/test_docs.py on a booted machine, with agents in microVMs; here agents are processes.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from doc_commands import ROOT, Shell, follow, on_a_running_system
from hosted_system import LONG, Up, eventually

from nullbox.host.hosted import cgroup_mount

pytestmark = pytest.mark.skipif(
    cgroup_mount(Path("/proc/self/mountinfo").read_text()) is None, reason="needs cgroup v2 (mount -t cgroup2)"
)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    """An instance with the agents that the image starts."""
    with tempfile.TemporaryDirectory(prefix="nbup") as folder:
        agents = Path(folder) / "agents"
        for name in ("pulse", "reader"):
            shutil.copytree(ROOT / "agents" / name, agents / name)
        up = Up(Path(folder), agents)
        try:
            yield up.ready()
        finally:
            up.close()


@pytest.fixture
def shell(up: Up, tmp_path: Path) -> Iterator[Shell]:
    up.until_running("pulse", "reader")
    eventually(lambda: up.nulld.ctx_latest("reader.summary"), "reader writes no summary")
    environment = {
        "NULLD_SOCKET": str(up.hosted.socket),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "NO_COLOR": "1",
    }
    with Shell(tmp_path, environment) as shell:
        yield shell


@pytest.mark.parametrize("page", ["quickstart.md", "operations.md", "tutorial.md"])
def test_the_commands_of_a_page(page: str, shell: Shell, tmp_path: Path) -> None:
    todo = on_a_running_system(ROOT / "docs" / page)
    assert len(todo) > 8
    follow(shell, tmp_path, todo, LONG)

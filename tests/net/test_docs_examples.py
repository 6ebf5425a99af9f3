"""Every example that nullctl's --help gives (docs/cli.md shows them) is run, on a system in namespaces of this host.

The words stay as they are shown; hashes, roots and sizes that a reader would put in are put in.
"""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from doc_commands import ROOT, examples
from hosted_system import LONG, Up, eventually

from nullbox.host.hosted import cgroup_mount

pytestmark = pytest.mark.skipif(
    cgroup_mount(Path("/proc/self/mountinfo").read_text()) is None, reason="needs cgroup v2 (mount -t cgroup2)"
)
CONFIG = "[egress]\nlearn = true\n"
AGENT = """
[agent]
name = "researcher"
runtime = "python"
[capabilities]
max_memory_mb = 64
[capabilities.network]
allow = ["api.openai.com"]
[capabilities.ctxgraph]
write = ["research."]
"""
CODE = """
import time
from nullbox_agent import ctx
ctx.write("research.found", {"answer": 42})
while True:
    time.sleep(60)
"""
FOLLOWS = re.compile(r"\s-f\b")


@dataclass(frozen=True)
class Place:
    """Where the examples are typed: a system, a folder with what they name, the shell's variables."""

    up: Up
    folder: Path
    environment: dict[str, str]

    def bash(self, text: str) -> subprocess.Popen[str]:
        """A shell that has zsh's search path for functions in the array that one example writes to."""
        return subprocess.Popen(
            ["bash", "-c", f"set -o pipefail; fpath=(none .); {text}"],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="nbex") as name:
        folder = Path(name)
        for sample in ("pulse", "reader"):
            shutil.copytree(ROOT / "agents" / sample, folder / "agents" / sample)
        (folder / "nulld.toml").write_text(CONFIG)
        (folder / "researcher").mkdir()
        (folder / "researcher" / "AGENT.toml").write_text(AGENT)
        (folder / "researcher" / "main.py").write_text(CODE)
        (folder / ".config" / "fish" / "completions").mkdir(parents=True)
        up = Up(folder, folder / "agents", "--config", str(folder / "nulld.toml"))
        try:
            up.ready().until_running("pulse", "reader")
            eventually(lambda: up.nulld.ctx_latest("pulse.counter"), "pulse writes nothing")
            for number in range(20):
                up.nulld.ctx_write("notes.number", number)
            environment = {
                **os.environ,
                "NULLD_SOCKET": str(up.hosted.socket),
                "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
                "HOME": name,
                "NO_COLOR": "1",
            }
            yield Place(up, folder, environment)
        finally:
            up.close()


def put_in(text: str, place: Place) -> str:
    """The example with what a reader has: a record's hash, and size and root of a checkpoint that has it."""
    checkpoint = place.up.nulld.ctx_status()
    known = {"3f…e1": place.up.nulld.ctx_latest("pulse.counter")["hash"], "9a…07": checkpoint["root"]}
    if "import" in text:
        backup = place.folder / "backup.jsonl"
        backup.write_text(place.up.ok("ctx", "export"))
        known["9a…07"] = json.loads(backup.read_text().partition("\n")[0])["root"]
    for shown, real in known.items():
        text = text.replace(shown, real)
    return re.sub(r"\b4000\b", str(checkpoint["size"]), text)


def test_every_example_of_the_help(place: Place) -> None:
    """One after the other, as the page has them: some need what others made."""
    todo = examples(ROOT / "docs" / "cli.md", "nullctl")
    assert len(todo) > 20
    for shown in todo:
        text = put_in(shown, place)
        with place.bash(text) as shell:
            if FOLLOWS.search(text):
                assert shell.stdout is not None
                came = select.select([shell.stdout], [], [], LONG)[0]
                os.killpg(shell.pid, signal.SIGINT)
                assert came, f"{shown}: nothing came"
                assert shell.wait(LONG) == 130, shown
            else:
                said, _ = shell.communicate(timeout=LONG)
                assert shell.returncode == 0, f"{shown}\n{said}"
    assert (place.folder / "research.jsonl").stat().st_size
    assert "nullctl" in (place.folder / "_nullctl").read_text()
    assert "nullctl" in (place.folder / ".config/fish/completions/nullctl.fish").read_text()

"""Agents that are a static program, and agents that are refused: deployed while the machine runs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from operator_view import Machine, until

SOURCE = r"""
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int main(int argc, char **argv)
{
    struct stat seen;
    printf("static: %s, %s, python %s\n", getenv("AGENT_NAME"), argc > 1 ? argv[1] : "no argument",
           stat("/agent/static", &seen) == 0 && seen.st_mode & S_IXUSR ? "not needed" : "needed");
    return 5;
}
"""


@pytest.fixture(scope="module")
def room(machine: Machine) -> Iterator[None]:
    """The sample agents paused."""
    with machine.paused("pulse", "reader"):
        yield


def manifest(name: str, rest: str) -> str:
    return f'[agent]\nname = "{name}"\nrestart = "never"\n{rest}'


@pytest.mark.usefixtures("room")
def test_a_static_program_is_an_agent(machine: Machine, tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc and a static libc")
    folder = tmp_path / "static"
    folder.mkdir()
    (tmp_path / "static.c").write_text(SOURCE)
    built = ["gcc", "-static", "-O1", "-o", str(folder / "static"), str(tmp_path / "static.c")]
    subprocess.run(built, check=True, timeout=60)
    limits = "[capabilities]\nmax_cpu_percent = 100\nmax_memory_mb = 96\n"
    (folder / "AGENT.toml").write_text(manifest("static", f'entrypoint = ["static", "one"]\n{limits}'))
    machine.ok("agent", "deploy", str(folder))
    until(lambda: machine.node("cage:static")["last_exit"], seconds=200, what="static to end")
    assert machine.node("cage:static")["last_exit"]["code"] == 5
    assert "static: static, one, python not needed" in machine.ok("agent", "logs", "static")
    machine.ok("agent", "remove", "static")
    assert machine.nullctl("agent", "inspect", "static").code == 3


@pytest.mark.parametrize(
    ("name", "rest", "said"),
    [
        ("secretive", '[capabilities]\ncredential_refs = ["OPENAI_KEY"]', "OPENAI_KEY"),
        ("greedy", "[capabilities]\nmax_memory_mb = 8192", "not enough memory"),
    ],
)
def test_what_the_system_cannot_give_is_a_refused_start(
    machine: Machine, tmp_path: Path, name: str, rest: str, said: str
) -> None:
    folder = tmp_path / name
    folder.mkdir()
    (folder / name).write_text("#!/bin/sh\n")
    (folder / "AGENT.toml").write_text(manifest(name, rest))
    machine.nullctl("agent", "deploy", str(folder))
    last = until(lambda: machine.node(f"cage:{name}")["last_exit"], seconds=60, what=f"the end of {name}")
    assert last["kind"] == "failed"
    assert said in last["detail"]
    noted = machine.ok("agent", "logs", name)
    assert "not started" in noted
    assert said in noted
    machine.ok("agent", "remove", name)

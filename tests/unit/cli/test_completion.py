"""Completion, asked as a shell asks it: through the environment, of the running program."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from gateway_system import System, running

BINARY = [sys.executable, "-c", "from nullbox.cli.nullctl import main; main()"]


@pytest.fixture(scope="module")
def system() -> Iterator[System]:
    with running() as system:
        yield system


def complete(system: System, line: str) -> list[str]:
    words = line.split(" ")
    environment = {
        **os.environ,
        "NULLD_SOCKET": system.socket,
        "_NULLCTL_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    found = subprocess.run(BINARY, env=environment, capture_output=True, text=True, timeout=60, check=True)
    return [each.partition(",")[2] for each in found.stdout.splitlines() if each]


def test_verbs_options_and_agents_are_completed(system: System) -> None:
    assert "status" in complete(system, "nullctl s")
    assert set(complete(system, "nullctl agent re")) == {"restart", "resume", "remove"}
    assert complete(system, "nullctl agent stop ") == ["pulse", "reader"]
    assert complete(system, "nullctl agent stop pulse ") == ["reader"]
    assert complete(system, "nullctl agent logs pu") == ["pulse"]
    assert "--follow" in complete(system, "nullctl agent logs pulse --f")
    assert complete(system, "nullctl ctx history pul") == ["pulse.count"]
    assert set(complete(system, "nullctl agent wait pulse --for s")) == {"stopped", "starting", "stopping"}


def test_without_a_daemon_nothing_is_offered_and_nothing_is_printed(system: System) -> None:
    system_down = System(system.layout, system.backend)
    system_down.socket = "/nowhere.sock"
    assert complete(system_down, "nullctl agent stop ") == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_printed(shell: str) -> None:
    found = subprocess.run([*BINARY, "completion", shell], capture_output=True, text=True, timeout=60, check=True)
    assert "_NULLCTL_COMPLETE" in found.stdout

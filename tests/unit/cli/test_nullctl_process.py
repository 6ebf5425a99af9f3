"""nullctl as a process: signals, pipes, the environment, the terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

from gateway_system import System

BINARY = [sys.executable, "-c", "from nullbox.cli.nullctl import main; main()"]


def test_following_as_a_process_and_interrupting_it(system: System) -> None:
    system.backend.record("started", "cage:pulse")
    process = subprocess.Popen(
        [*BINARY, "--socket", system.socket, "events", "-f", "-o", "json"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert [json.loads(process.stdout.readline())["kind"] for _ in range(2)] == ["boot", "started"]
    system.backend.record("exit", "cage:pulse")
    assert json.loads(process.stdout.readline())["kind"] == "exit"
    process.send_signal(2)
    assert process.wait(20) == 130


def test_a_reader_that_has_enough_is_no_error_message(system: System) -> None:
    path = system.layout.agent_log("pulse")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("2026-11-24T17:00:00.000Z line\n" * 50_000)
    process = subprocess.Popen(
        [*BINARY, "--socket", system.socket, "agent", "logs", "pulse"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "line\n"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    assert process.wait(20) != 0


def test_the_environment_names_the_socket(system: System) -> None:
    found = subprocess.run(
        [*BINARY, "agent", "list", "-o", "name"],
        env={**os.environ, "NULLD_SOCKET": system.socket},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert found.stdout == "pulse\nreader\n"
    assert "\x1b" not in found.stdout


def test_a_deployment_shows_its_progress_on_a_terminal_and_nowhere_else(system: System, tmp_path: Path) -> None:
    folder = tmp_path / "fresh"
    folder.mkdir()
    (folder / "AGENT.toml").write_text('[agent]\nname = "fresh"\nruntime = "python"\n')
    (folder / "main.py").write_text("#" * 2_000_000)
    argv = [*BINARY, "--socket", system.socket, "agent", "deploy", str(folder)]
    quiet = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert (quiet.returncode, quiet.stderr) == (0, "")
    near, far = pty.openpty()
    shown = subprocess.run([*argv, "--replace"], stdout=subprocess.PIPE, stderr=far, text=True, timeout=60)
    os.close(far)
    said = os.read(near, 65536).decode()
    os.close(near)
    assert shown.stdout == "fresh 0.0.0: running\n"
    steps = re.findall(r"\rsent (\d+) of (\d+) KiB", said)
    assert len(steps) > 2
    assert steps[-1] == (steps[-1][1], steps[-1][1])
    assert said.endswith("KiB\r\n")

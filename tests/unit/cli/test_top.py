"""nullctl top: its screen as text of any size, its keys, and the real thing in a real terminal (tmux)."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gateway_system import System, running
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cli.render import width
from nullbox.cli.top_screen import Command, Model, move, press, screen, with_sample
from nullbox.gateway.memory import MemoryBackend

GOLDEN = Path(__file__).parents[2] / "golden" / "nullctl"


def model(**changes: Any) -> Model:
    backend = MemoryBackend()
    backend.set("cage:reader", state="backoff", next_restart_in_s=4.0, pid=None, uptime_s=None, restarts_total=3)
    shown = Model(
        status={
            "healthy": True,
            "version": "0.1.0",
            "uptime_s": 754.0,
            "memory": {"used_mib": 500, "total_mib": 2000},
            "driver": "krun",
        },
        tree=backend.nodes,
        denials={"pulse": 3},
        events=[
            {"seq": n, "ts": 1_795_539_600.0 + n, "kind": "state", "child": "cage:pulse", "to": "running"}
            for n in range(1, 30)
        ],
        selected="cage:pulse",
    )
    shown = with_sample(shown, "pulse", 10.0, {"cpu_usec": 1_000_000, "memory_bytes": 64 << 20})
    shown = with_sample(shown, "pulse", 12.0, {"cpu_usec": 1_500_000, "memory_bytes": 65 << 20})
    return replace(shown, **changes)


def text(shown: Model, wide: int = 80, high: int = 24) -> str:
    return "\n".join(line.text.rstrip() for line in screen(shown, wide, high)) + "\n"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("events", model()),
        ("logs", model(logs_of="pulse", logs=["tick 1", "tick 2"])),
        ("problem", model(problem="nobody answers at /run/nulld.sock: nulld is not running")),
        ("empty", Model()),
    ],
)
def test_snapshots(name: str, shown: Model) -> None:
    path = GOLDEN / f"top-{name}.txt"
    if os.environ.get("NULLBOX_UPDATE_GOLDEN"):
        path.write_text(text(shown))
    assert text(shown) == path.read_text()


@given(st.integers(1, 200), st.integers(1, 80), st.integers(0, 60))
def test_any_size_is_filled_exactly(wide: int, high: int, agents: int) -> None:
    backend = MemoryBackend([f"agent-{number}" for number in range(agents)])
    shown = model(tree=backend.nodes, selected=f"cage:agent-{agents // 2}")
    lines = screen(shown, wide, high)
    assert len(lines) == high
    assert {width(line.text) for line in lines} == {wide}
    if high >= 12 and agents:
        assert any(line.style == "selected" for line in lines)


def test_keys_move_and_ask() -> None:
    shown = model()
    assert move(shown, 1).selected == "cage:reader"
    assert move(move(shown, 1), 1).selected == "cage:reader"
    assert move(shown, -1).selected == "gateway"
    assert press(shown, "p")[1] == Command("pause", "pulse")
    assert press(shown, "R")[1] == Command("restart", "pulse")
    assert press(replace(shown, selected="egress"), "p") == (
        replace(shown, selected="egress", message="select an agent first"),
        None,
    )
    logs, nothing = press(shown, "l")
    assert (logs.logs_of, nothing) == ("pulse", None)
    assert press(logs, "l")[0].logs_of == ""
    assert press(shown, "x") == (shown, None)


# --- in a terminal ------------------------------------------------------------------------------------------


class Terminal:
    """A tmux server of its own, with one window of 80×24."""

    def __init__(self, folder: Path, command: list[str]) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux.sock"), "-f", "/dev/null"]
        self._call("new-session", "-d", "-x", "80", "-y", "24", " ".join(command) + "; echo ended; sleep 60")

    def _call(self, *args: str) -> str:
        environment = {**os.environ, "TERM": "xterm-256color"}
        done = subprocess.run([*self._tmux, *args], capture_output=True, text=True, timeout=30, env=environment)
        return done.stdout

    def keys(self, *keys: str) -> None:
        self._call("send-keys", *keys)

    def shows(self, wanted: Callable[[str], bool], seconds: float = 40.0) -> str:
        until = time.monotonic() + seconds
        while True:
            found = self._call("capture-pane", "-p")
            if wanted(found):
                return found
            assert time.monotonic() < until, found
            time.sleep(0.1)

    def close(self) -> None:
        self._call("kill-server")


@pytest.fixture
def system() -> Iterator[System]:
    with running() as system:
        yield system


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
def test_in_a_real_terminal(system: System, tmp_path: Path) -> None:
    system.layout.agent_log("pulse").parent.mkdir(parents=True, exist_ok=True)
    system.layout.agent_log("pulse").write_text("2026-11-24T17:00:00.000Z tick of the log\n")
    program = "'from nullbox.cli.nullctl import main; main()'"
    terminal = Terminal(system.layout.run, [sys.executable, "-c", program, "--socket", system.socket, "top"])
    try:
        screen_text = terminal.shows(lambda text: "cage:pulse" in text and "EVENTS" in text and "boot" in text)
        assert "healthy" in screen_text.splitlines()[0]
        assert len(screen_text.splitlines()) <= 24
        for _ in range(4):
            terminal.keys("Down")
        terminal.keys("p")
        terminal.shows(lambda text: "pulse: paused" in text and "cage:pulse   paused" in text)
        terminal.keys("p")
        terminal.shows(lambda text: "paused already" in text)
        terminal.keys("r")
        terminal.shows(lambda text: "pulse: running" in text)
        terminal.keys("l")
        terminal.shows(lambda text: "LOG of pulse" in text and "tick of the log" in text)
        terminal.keys("l")
        terminal.shows(lambda text: "EVENTS" in text)
        terminal.keys("q")
        terminal.shows(lambda text: "ended" in text)
    finally:
        terminal.close()


def test_without_a_terminal_it_says_what_to_use(system: System) -> None:
    program = [sys.executable, "-c", "from nullbox.cli.nullctl import main; main()", "--socket", system.socket, "top"]
    done = subprocess.run(program, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=60)
    assert done.returncode == 2
    assert "nullctl status" in done.stderr

"""From `agent start` to the agent's first line, beside a bare libkrun runner that starts the same program with the same
root, on one machine in one run.

    python -m bench.cage [--quick] [--rounds 7] [--json FILE]

The machine boots the test image. Before its init, a bare runner starts the agent `first` in a VM, round after round
(tests/boot/agents/first/bare.py); then the system comes up, and the same agent is started as an operator would, as
many times. Both sides are timed by the machine's own clock: the supervisor's event `starting` and the stamp of the
line in the agent's log.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.command import QUICK_ROUNDS, argument_parser, finish

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from operator_view import Machine, booted, until  # noqa: E402

MUST = {"start_to_bare": ("<=", 1.3, ""), "pause_ms": ("<=", 50.0, "ms"), "resume_ms": ("<=", 50.0, "ms")}
BARE = re.compile(r"bare: ([0-9.]+) s")
PYTHON = "/usr/bin/python3.13"
BARE_RUNNER = "/system/agents/first/bare.py"


def starts(machine: Machine) -> list[float]:
    """When the agent began to start, each time (seconds since the epoch)."""
    lines = machine.ok("-o", "json", "events").splitlines()
    events: list[dict[str, Any]] = [json.loads(line) for line in lines]
    return [
        event["ts"]
        for event in events
        if event["kind"] == "state" and event["child"] == "cage:first" and event["to"] == "starting"
    ]


def first_lines(machine: Machine) -> list[float]:
    """When each start said its line (seconds since the epoch)."""
    lines = machine.ok("agent", "logs", "first").splitlines()
    return [datetime.fromisoformat(line.split()[0]).timestamp() for line in lines if line.endswith("first: begins")]


def measure(rounds: int, folder: Path) -> dict[str, list[float]]:
    append = (f"init={PYTHON}", "--", "-I", BARE_RUNNER, str(rounds))
    with booted(ROOT / "build", folder, append=append) as machine:
        bare = [float(seconds) for seconds in BARE.findall(machine.console())]
        names = ("pulse", "reader")
        for name in names:
            machine.until_state(name, "running")
        paused, resumed = [], []
        for _ in range(rounds):
            paused.append(float(machine.json("agent", "pause", "pulse")["confirmed_ms"]))
            resumed.append(float(machine.json("agent", "resume", "pulse")["confirmed_ms"]))
        for name in names:
            machine.ok("agent", "pause", name)
        for number in range(rounds):
            machine.ok("agent", "start", "first")
            until(lambda n=number: len(first_lines(machine)) > n, seconds=120, what="its line")  # type: ignore[misc]
            machine.until_state("first", "stopped")
        took = [line - start for start, line in zip(starts(machine), first_lines(machine), strict=True)]
    return {
        "bare_s": bare,
        "start_s": took,
        "start_to_bare": [ours / base for ours, base in zip(took, bare, strict=True)],
        "pause_ms": paused,
        "resume_ms": resumed,
    }


def main() -> int:
    options = argument_parser(__doc__).parse_args()
    with tempfile.TemporaryDirectory(prefix="nullbox-bench-cage-") as folder:
        found = measure(QUICK_ROUNDS if options.quick else options.rounds, Path(folder))
    return finish(MUST, found, options.json)


if __name__ == "__main__":
    sys.exit(main())

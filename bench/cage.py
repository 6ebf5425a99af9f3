"""What an agent's VM costs: its start, a pause, memory, and how many of them one machine runs.

    python -m bench.cage [--quick] [--rounds 7] [--json FILE] [--part one|many]

The machine boots the test image. Before its init, a bare runner starts the agent `first` in a VM, round after round
(tests/boot/agents/first/bare.py); then the system comes up, and the same agent is started as an operator would, as
many times. Both sides are timed by the machine's own clock: the supervisor's event `starting` and the stamp of the
line in the agent's log. A second machine, of 8 GB, runs 50 agents of 64 MB; with --quick the first one runs a few.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from bench.command import QUICK_ROUNDS, argument_parser, finish

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "support"))

from many_agents import deployed, run_all  # noqa: E402
from operator_view import Machine, booted  # noqa: E402

MUST = {
    "start_to_bare": ("<=", 1.3, ""),
    "pause_ms": ("<=", 50.0, "ms"),
    "resume_ms": ("<=", 50.0, "ms"),
    "vmm_private_mb": ("<=", 12.0, "MB"),
    "agents_running_share": (">=", 1.0, ""),
}
PYTHON = "/usr/bin/python3.13"
BARE_RUNNER = "/system/agents/first/bare.py"
BARE = "bare: "
SAMPLES = ("pulse", "reader")
AGENTS, QUICK_AGENTS = 50, 3
MEMORY_MIB = 8192
LOW_KIB = 16 * 1024
KERNEL_SLACK_KIB = 256
PER_AGENT = 30.0
"""Seconds at most for one of many, where the machine is emulated."""


def own_kib(mappings: Iterable[Sequence[Any]], ram_mib: int) -> int:
    """Private dirty memory of a VMM in KiB, apart from its guest's RAM and the guest kernel's image.

    Those are three mappings without a file: the RAM below the kernel, which begins at 16 MiB; the kernel, as large as
    it is in libkrunfw but for a few pages of other things there; and the RAM that was asked for.

    mappings: see `saboteur.mappings`. ram_mib: what the guest was given.

    Raises:
        ValueError: one of the three is not there, or not to be told from something else.
    """
    found = list(mappings)
    firmware = max((size for size, _, _, file in found if "libkrunfw" in file), default=0)
    guests = {
        "the RAM below the kernel": range(LOW_KIB, LOW_KIB + 1),
        "the kernel": range(firmware - KERNEL_SLACK_KIB, firmware + 1),
        "the RAM": range(ram_mib * 1024, ram_mib * 1024 + 1),
    }
    own = sum(dirty for _, dirty, _, _ in found)
    for what, sizes in guests.items():
        its = [dirty for size, dirty, rights, file in found if not file and rights == "rw-p" and size in sizes]
        if len(its) != 1:
            raise ValueError(f"{len(its)} mappings of {sizes.start} to {sizes.stop - 1} KiB could be {what}")
        own -= its[0]
    return own


def starts(machine: Machine) -> list[float]:
    """When the agent began to start, each time (seconds since the epoch)."""
    return [
        event["ts"]
        for event in machine.json_lines("events")
        if event["kind"] == "state" and event["child"] == "cage:first" and event["to"] == "starting"
    ]


def first_lines(machine: Machine) -> list[float]:
    """When each start said its line (seconds since the epoch)."""
    return [line["ts"] for line in machine.json_lines("agent", "logs", "first") if line["text"] == "first: begins"]


def all_running(machine: Machine) -> None:
    for name in SAMPLES:
        machine.until_state(name, "running")


def one_agent(rounds: int, folder: Path, count: int) -> dict[str, Any]:
    """Start, pause, memory; then that many agents at once in the same machine, unless it is none."""
    append = (f"init={PYTHON}", "--", "-I", BARE_RUNNER, str(rounds))
    with booted(ROOT / "build", folder, append=append) as machine:
        lines = machine.console().splitlines()
        bare = [float(line.split()[1]) for line in lines if line.startswith(BARE)]
        all_running(machine)
        paused, resumed = [], []
        for _ in range(rounds):
            paused.append(float(machine.json("agent", "pause", "pulse")["confirmed_ms"]))
            resumed.append(float(machine.json("agent", "resume", "pulse")["confirmed_ms"]))
        vmm = machine.json("agent", "inspect", "pulse")["vm"]["vmm"]
        own = own_kib(machine.memory(vmm["pid"]), vmm["limits"]["ram_mib"])
        for name in SAMPLES:
            machine.ok("agent", "pause", name)
        for _ in range(rounds):
            machine.ok("agent", "start", "first")
            # Asked once: whoever looks again and again takes the processor from what is measured.
            machine.ok("agent", "wait", "first", "--for", "stopped", "--timeout", "80s")
        took = [line - start for start, line in zip(starts(machine), first_lines(machine), strict=True)]
        print("started after", ", ".join(f"{seconds:.2f}" for seconds in took), "s")
        many = together(machine, folder, count) if count else {}
    return many | {
        "bare_s": bare,
        "start_s": took,
        "start_to_bare": statistics.median(took) / statistics.median(bare),
        "pause_ms": paused,
        "resume_ms": resumed,
        "vmm_private_mb": own * 1024 / 1e6,
    }


def many_agents(count: int, folder: Path) -> dict[str, Any]:
    """As many agents as that in a machine of their own."""
    with booted(ROOT / "build", folder, memory_mib=MEMORY_MIB) as machine:
        all_running(machine)
        for name in SAMPLES:
            machine.ok("agent", "pause", name)
        return together(machine, folder, count)


def together(machine: Machine, folder: Path, count: int) -> dict[str, Any]:
    """As many agents as that, started at once."""
    took = run_all(machine, deployed(machine, folder, count), PER_AGENT * count)
    used = machine.json("status")["memory"]["used_mib"]
    return {
        "agents_running_share": len(took) / count,
        "agents": float(count),
        "agents_s": took[-1],
        "agents_used_mib": float(used),
    }


def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--part", choices=("one", "many"), help="one machine of the two only")
    options = parser.parse_args()
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="nb-") as folder:
        if options.part != "many":
            rounds, count = (QUICK_ROUNDS, QUICK_AGENTS) if options.quick else (options.rounds, 0)
            found |= one_agent(rounds, Path(folder, "a"), count)
        if options.part == "many" or not (options.part or options.quick):
            found |= many_agents(AGENTS, Path(folder, "b"))
    return finish(MUST, found, options.json)


if __name__ == "__main__":
    sys.exit(main())

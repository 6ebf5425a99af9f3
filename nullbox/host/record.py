"""What is known about the machine that runs in a folder, and whether it still does (edge: files, /proc).

A process is named by its id and its start time, so that a number that the kernel has given to another process
since is never taken for ours, and never killed.

Source: proc_pid_stat(5), field 22.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from nullbox.host.qemu import Machine


@dataclass(frozen=True)
class Process:
    """A process for good: its id, and when it started in clock ticks since boot."""

    pid: int
    started: int

    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        return start_time(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        if self.alive():
            os.kill(self.pid, number)


def start_time(pid: int) -> int | None:
    """Start time of a process; None if there is none, or only a zombie."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text.rpartition(")")[2].split()  # the name before it may hold anything
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass(frozen=True)
class Record:
    """The machine of one folder: the process that keeps it, QEMU's own, and what it runs.

    identity: what `identity_of` said about the machine. acceleration: the choice, for people.
    """

    keeper: Process
    qemu: Process
    identity: str
    acceleration: str


def identity_of(machine: Machine) -> str:
    """A hash of all that makes two machines alike: kernel, image, and every setting that is not a host path."""
    state = hashlib.sha256()
    for path in filter(None, (machine.kernel, machine.root)):
        with path.open("rb") as file:
            state.update(hashlib.file_digest(file, "sha256").digest())
    rest = (machine.kvm, machine.cpus, machine.memory_mib, machine.watchdog, machine.network, machine.append)
    boot = (machine.firmware is not None, machine.medium, machine.verified)
    state.update(repr((rest, boot, str(machine.state), str(machine.wire), machine.reboots, machine.extra)).encode())
    return state.hexdigest()


def write(path: Path, record: Record) -> None:
    """Replace the record of a folder, in one step."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(dataclasses.asdict(record), indent=2) + "\n")
    scratch.replace(path)


def read(path: Path) -> Record | None:
    """The record of a folder; None if there is none, or it cannot be understood."""
    try:
        raw = json.loads(path.read_text())
        return Record(Process(**raw["keeper"]), Process(**raw["qemu"]), str(raw["identity"]), str(raw["acceleration"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None

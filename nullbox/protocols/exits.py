"""Exit records: how the exit code of an orphan reaches the actor that adopted it.

A VMM outlives its cage actor. It is then re-parented to PID 1 (in hosted mode: to the child subreaper), which is
the only process that may learn its status. PID 1 writes one small file per reaped orphan; the restarted cage actor
reads it. A pid alone may have been reused, so the record carries the start time as well (`proc_pid_stat(5)`,
field 22), and the reader compares both.
"""

from __future__ import annotations

import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

KEEP = 256
"""How many records a directory holds at most; the oldest go first. Far more than VMs on one machine."""


@dataclass(frozen=True, slots=True)
class ExitRecord:
    """What `wait` said of one process.

    start_time: clock ticks since boot when it started; 0 when unknown.
    code: its exit status, or None when a signal killed it.
    signal: the number of that signal, or None.
    """

    pid: int
    start_time: int
    code: int | None
    signal: int | None

    def describe(self) -> str:
        """One clause for a person: `exited with 3`, `killed by SIGKILL`."""
        if self.signal is None:
            return f"exited with {self.code}"
        try:
            name = signal.Signals(self.signal).name
        except ValueError:
            name = f"signal {self.signal}"
        return f"killed by {name}"


def record_path(directory: Path, pid: int, start_time: int) -> Path:
    return directory / f"{pid}.{start_time}"


def write_record(directory: Path, record: ExitRecord) -> None:
    """Publish a record atomically (a reader sees all of it or nothing). Raises OSError."""
    target = record_path(directory, record.pid, record.start_time)
    partial = target.with_name(f".{target.name}")
    partial.write_text(json.dumps(asdict(record)))
    partial.rename(target)


def read_record(directory: Path, pid: int, start_time: int) -> ExitRecord | None:
    """The record of exactly that process, or None when there is none (yet) or it is unreadable."""
    try:
        data = json.loads(record_path(directory, pid, start_time).read_text())
        return ExitRecord(**data)
    except (OSError, ValueError, TypeError):
        return None


def prune(directory: Path, keep: int = KEEP) -> None:
    """Drop the oldest records beyond `keep`."""
    records = sorted((p for p in directory.iterdir() if not p.name.startswith(".")), key=_age)
    for path in records[: max(0, len(records) - keep)]:
        path.unlink(missing_ok=True)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def start_time_of(stat: str) -> int:
    """Field 22 of `/proc/PID/stat`. The command name (field 2) may hold spaces and parentheses, so count from the
    last `)`.

    Raises:
        ValueError: this is not the text of a stat file.
    """
    _, _, rest = stat.rpartition(")")
    fields = rest.split()
    if len(fields) < 20:
        raise ValueError(f"not the text of /proc/PID/stat: {stat[:80]!r}")
    return int(fields[19])

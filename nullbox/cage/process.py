"""Start a VMM, find it again, learn how it ended (edge module: subprocess, pidfd, /proc).

A VMM outlives its cage actor. The actor that started it is its parent and learns its status from the kernel; an actor
that adopts it finds it by pid and start time (a pid alone may be somebody else's by now), watches it through a pidfd,
and learns its status from the record that PID 1 leaves when it reaps it (`protocols.exits`).

Sources: pidfd_open(2), proc_pid_stat(5), pipe(7), fifo(7).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nullbox.protocols.exits import ExitRecord, read_record, start_time_of

RUNNER = "nullbox.cage.vmm"
"""The module that becomes a VM."""


@dataclass(frozen=True, slots=True)
class PidRecord:
    """What identifies a VMM across restarts of its actor. start_time: clock ticks since boot."""

    pid: int
    start_time: int

    def save(self, path: Path) -> None:
        """Write it so that a reader sees all of it or nothing. Raises OSError."""
        partial = path.with_name(f".{path.name}")
        partial.write_text(json.dumps(asdict(self)))
        partial.rename(path)


def load_record(path: Path) -> PidRecord | None:
    """The record in a file; None when there is none or it is no record.

    Raises:
        OSError: it cannot be read, which does not say that there is none.
    """
    try:
        data = json.loads(path.read_text())
        return PidRecord(pid=int(data["pid"]), start_time=int(data["start_time"]))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None


def make_fifo(path: Path) -> None:
    """Make the console FIFO, or keep the one that is there. Raises OSError (something else is there)."""
    try:
        os.mkfifo(path, 0o600)
    except FileExistsError:
        if not path.is_fifo():
            raise


class VmProcess:
    """A VMM process that runs or has ended. Close it when done; closing ends nothing."""

    def __init__(self, record: PidRecord, pidfd: int, child: subprocess.Popen[bytes] | None) -> None:
        self.record = record
        self._pidfd = pidfd
        self._child = child
        self._exit: ExitRecord | None = None

    @classmethod
    def spawn(
        cls,
        plan_file: Path,
        console: Path,
        *,
        python: Sequence[str],
        environ: Mapping[str, str],
        record: Path | None = None,
        runner: str = RUNNER,
    ) -> VmProcess:
        """Start the runner in a session of its own, with nothing but the console open.

        python: the interpreter with its options, able to import nullbox. environ: the whole environment.
        record: where to note who it is. The runner waits until this process has done so, or has died; not noted, it
            ends by itself (`vmm.await_record`), for nobody could ever find it again.
        runner: the module to run.

        Raises:
            OSError: it could not be started, or noted.
        """
        source, hold = os.pipe2(os.O_CLOEXEC) if record is not None else (os.open(os.devnull, os.O_RDONLY), -1)
        try:
            process = cls._spawn(plan_file, console, [*python, "-m", runner], environ, source)
            if record is not None:
                process.record.save(record)
            return process
        finally:
            os.close(source)
            if hold >= 0:
                os.close(hold)

    @classmethod
    def _spawn(
        cls, plan_file: Path, console: Path, command: Sequence[str], environ: Mapping[str, str], source: int
    ) -> VmProcess:
        output = os.open(console, os.O_RDWR | os.O_CLOEXEC)
        try:
            child = subprocess.Popen(
                [*command, str(plan_file)],
                stdin=source,
                stdout=output,
                stderr=output,
                env=dict(environ),
                cwd="/",
                start_new_session=True,
                close_fds=True,
            )
        finally:
            os.close(output)
        # The child is not reaped before `poll` says so, hence its pid and its stat file are its own.
        return cls(PidRecord(child.pid, _start_time(child.pid)), os.pidfd_open(child.pid), child)

    @classmethod
    def adopt(cls, record: PidRecord) -> VmProcess | None:
        """Take over a VMM that another process started; None when it is not there any more."""
        try:
            pidfd = os.pidfd_open(record.pid)
        except OSError:
            return None
        # Opened first, compared second: whatever has this pid now is what the descriptor stands for.
        try:
            same = _start_time(record.pid) == record.start_time
        except (OSError, ValueError):
            same = False
        if not same:
            os.close(pidfd)
            return None
        return cls(record, pidfd, None)

    def fileno(self) -> int:
        """A descriptor that becomes readable when the process ends."""
        return self._pidfd

    @property
    def ended(self) -> bool:
        """Whether it has ended, whoever may learn its status."""
        return self._exit is not None or bool(select.select([self._pidfd], [], [], 0)[0])

    def poll(self, exits: Path) -> ExitRecord | None:
        """How it ended; None while it runs, and while the record of an adopted one is not written yet.

        exits: folder of PID 1's exit records.
        """
        if self._exit is None and self.ended:
            self._exit = self._reap() if self._child is not None else read_record(exits, *self._identity())
        return self._exit

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended. timeout: seconds. For tests and shutdown; an actor watches `fileno`."""
        return self._exit is not None or bool(select.select([self._pidfd], [], [], timeout)[0])

    def close(self) -> None:
        """Let go of the descriptor."""
        if self._pidfd >= 0:
            os.close(self._pidfd)
            self._pidfd = -1

    def _identity(self) -> tuple[int, int]:
        return self.record.pid, self.record.start_time

    def _reap(self) -> ExitRecord | None:
        assert self._child is not None
        code = self._child.poll()
        if code is None:
            return None
        pid, start_time = self._identity()
        if code < 0:
            return ExitRecord(pid, start_time, None, -code)
        return ExitRecord(pid, start_time, code, None)


def _start_time(pid: int) -> int:
    return start_time_of(Path(f"/proc/{pid}/stat").read_text())

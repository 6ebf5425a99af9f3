"""Effects: reaping. PID 1 inherits every orphan of the machine and must wait for each."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nullbox.protocols.exits import ExitRecord, prune, start_time_of, write_record

AT_ONCE = 256
"""Processes reaped in one go, so that a storm of exits cannot keep PID 1 from its other duties."""


def reap(directory: Path, *, keep_records_of_others_than: int) -> Iterator[ExitRecord]:
    """Wait for every child that has ended; leave a record of each orphan in `directory`; yield all of them.

    A record that cannot be written (full or missing file system) is lost, not the reaping.
    """
    wrote = False
    for _ in range(AT_ONCE):
        record = _reap_one()
        if record is None:
            break
        if record.pid != keep_records_of_others_than:
            wrote |= _publish(directory, record)
        yield record
    if wrote:
        _prune(directory)


def _reap_one() -> ExitRecord | None:
    try:
        # WNOWAIT leaves the zombie in place: its stat file still says when it started.
        seen = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if seen is None:
            return None
        start_time = _start_time(seen.si_pid)
        _, status = os.waitpid(seen.si_pid, 0)
    except ChildProcessError:
        return None
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return ExitRecord(seen.si_pid, start_time, None, -code)
    return ExitRecord(seen.si_pid, start_time, code, None)


def _start_time(pid: int) -> int:
    try:
        return start_time_of(Path(f"/proc/{pid}/stat").read_text())
    except (OSError, ValueError):
        return 0


def _publish(directory: Path, record: ExitRecord) -> bool:
    try:
        write_record(directory, record)
    except OSError:
        return False
    return True


def _prune(directory: Path) -> None:
    try:
        prune(directory)
    except OSError:
        return

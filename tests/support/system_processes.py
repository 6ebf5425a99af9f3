"""The processes of a test's actor system: who they are, and that they are gone."""

from __future__ import annotations

import ctypes
import os
import select
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
"""prctl(2)."""


def pids(directory: Path) -> dict[str, int]:
    """Mailbox → pid of every process of a system but the launcher, from its sockets; the administrator excepted."""
    found = {}
    for path in directory.iterdir():
        parts = path.name.split(".")
        if len(parts) == 3 and parts[0] in ("actor", "logger"):
            found[path.name] = int(parts[1])
    return found


def wait_gone(pid: int, seconds: float) -> bool:
    """Wait until a process has ended; whether or not somebody has collected it."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        return bool(poll.poll(seconds * 1000))
    finally:
        os.close(pidfd)


def adopt_orphans() -> None:
    """Make this process the one that orphans fall to (PR_SET_CHILD_SUBREAPER), so that it sees them."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def children() -> set[int]:
    return {int(pid) for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


def collect_orphans(before: set[int], seconds: float) -> list[int]:
    """Collect all children that came since `before`; return those that did not end in this time."""
    until = time.monotonic() + seconds
    left = []
    while new := children() - before - set(left):
        for pid in new:
            if wait_gone(pid, max(0.0, until - time.monotonic())):
                os.waitpid(pid, 0)
            else:
                left.append(pid)
    return left


def state(pid: int) -> str:
    """The letter of proc_pid_stat(5), `-` where there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "-"
    return stat[stat.rindex(")") + 2]


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))

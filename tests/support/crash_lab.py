"""What the crash tests need of the machine, and their sizes."""

from __future__ import annotations

import os
import shutil
import subprocess

from sizes import FULL, sized

EVERYTHING = bool(os.environ.get("CRASH_ALL")) or FULL
SEED = int(os.environ.get("NULLBOX_CRASH_SEED") or 0)
COUNT = int(os.environ.get("NULLBOX_CRASH_RUNS") or sized(200, full=2000))
"""Schedules; two hundred consecutive seeds reach every fail point twice."""
BATCH = 25
"""Schedules into one system."""
WORLDS = 3
"""Systems that run side by side: most of a schedule is waiting."""
LATE = 0.05
"""Share of recoveries that may take longer than promised: the machine may be busy with something else."""


def missing() -> str:
    """What this machine lacks for a system in namespaces; empty when nothing."""
    if os.geteuid() != 0:
        return "root"
    for program in ("unshare", "nsenter", "setpriv", "ip", "nft"):
        if shutil.which(program) is None:
            return f"the program {program}"
    if not os.path.exists("/dev/net/tun"):
        return "/dev/net/tun"
    script = "mount -t cgroup2 c /sys/fs/cgroup && test -e /sys/fs/cgroup/cgroup.procs"
    done = subprocess.run(["unshare", "-n", "-m", "-p", "-f", "sh", "-c", script], capture_output=True, check=False)
    if done.returncode:
        return "namespaces with a cgroup v2 mount"
    try:
        from pykrun import Library

        Library.find()
    except OSError as error:
        return f"libkrun ({error})"
    return ""


LACKS = missing()

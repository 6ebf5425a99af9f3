"""Seeded faults into a whole running system; see `nullbox.chaos.schedule` for what must hold.

`make crash SEED=… N=…` replays or extends: N faults in systems of `BATCH` faults each, the seed of each system one more
than that of the one before. A failure names its own seed: `make crash SEED=that N=25` runs that system again.
"""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from nullbox.chaos.schedule import Baseline, Campaign, all_steps, random_steps
from nullbox.chaos.world import World

BATCH = 25
SEED = int(os.environ.get("NULLBOX_CRASH_SEED") or 1)
COUNT = int(os.environ.get("NULLBOX_CRASH_RUNS") or 200)
LATE = 0.3
"""Share of faults that may take longer than promised: the machine of the tests may be busy with something else."""


def missing() -> str:
    """What this machine lacks for a system in namespaces; empty when nothing."""
    if os.geteuid() != 0:
        return "root"
    for program in ("unshare", "nsenter", "ip", "nft"):
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
pytestmark = [
    pytest.mark.slow,
    pytest.mark.net,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(bool(LACKS), reason=f"needs {LACKS}"),
]


def batches() -> list[tuple[int, int]]:
    """(seed, faults) of each system."""
    whole, rest = divmod(COUNT, BATCH)
    sizes = [BATCH] * whole + ([rest] if rest else [])
    return [(SEED + index, size) for index, size in enumerate(sizes)]


@pytest.mark.parametrize(("seed", "count"), batches(), ids=lambda value: str(value))
def test_seeded_faults(seed: int, count: int) -> None:
    print(f"replay: make crash SEED={seed} N={count}")
    with World() as world:
        campaign = Campaign(world)
        before = Baseline.take(world)
        descriptors = world.descriptors(world.init)
        for step in random_steps(seed, count):
            campaign.run(step)
        writes = campaign.check_writes()
        campaign.check_clean(before)
        assert world.descriptors(world.init) == descriptors, "PID 1 leaks descriptors"
        report = campaign.report
        print(f"{report.summary()}; {writes} acknowledged writes are there")
        print("not reached:", *report.unreached, "late:", *report.late, sep="\n  ")
        assert len(report.late) <= 1 + LATE * count, report.late
        assert sum(report.taken.values()) > count / 2
        for path in ("actor replaced", "vm adopted"):
            assert report.seen[path], f"never seen: {path}"


@pytest.mark.skipif(os.environ.get("CRASH_ALL") != "1", reason="CRASH_ALL=1: half an hour")
@pytest.mark.timeout(7200)
def test_every_fail_point_and_fault() -> None:
    """Owner × fail point × fault, each once."""
    with World() as world:
        campaign = Campaign(world)
        before = Baseline.take(world)
        for step in all_steps():
            campaign.run(step)
        campaign.check_writes()
        campaign.check_clean(before)
        report = campaign.report
        print(report.summary())
        assert report.unreached == []

"""What a VMM's own memory is made of before there is a guest: the runner, its modules, libkrun. Counted once per agent.

All of it together has to stay below 12 MB when the guest runs; what libkrun's threads add is a few stacks and queues.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pykrun.lib import wheel_folder

REPOSITORY = Path(__file__).parents[3]
PLAN = REPOSITORY / "tests" / "golden" / "cage" / "small.json"
MOST_KIB = 10 * 1024

RUNNER = """
import sys
from pathlib import Path
from nullbox.cage import vmm
plan = vmm.read_plan(Path(sys.argv[1]))
from pykrun import Context, Library
library = Library(sys.argv[2])
from nullbox.cage import jail
context = Context(library)
context.run(plan.calls[:1])
print("ready", flush=True)
sys.stdin.read()
"""


def test_the_runner_itself_is_small() -> None:
    wheel = wheel_folder()
    if wheel is None:
        pytest.skip("the smolmachines package is not installed")
    runner = subprocess.Popen(
        [sys.executable, "-s", "-S", "-P", "-c", RUNNER, str(PLAN), str(wheel / "libkrun.so")],
        env={"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert runner.stdout is not None
    try:
        assert runner.stdout.readline() == "ready\n"
        rollup = Path(f"/proc/{runner.pid}/smaps_rollup")
        if not rollup.exists() or not os.access(rollup, os.R_OK):
            pytest.skip("needs smaps_rollup (CONFIG_PROC_PAGE_MONITOR)")
        dirty = next(line for line in rollup.read_text().splitlines() if line.startswith("Private_Dirty"))
        assert int(dirty.split()[1]) <= MOST_KIB
    finally:
        runner.communicate("", timeout=20)

"""The same trees under Erlang/OTP's own supervisor and under `decide`, backoff set to zero: no difference.

Random trees of up to three levels, all strategies, restart types and auto_shutdown modes, exits of every kind, starts
that fail, and users' commands; compared are which children were started and stopped, in what order, who
lives after each step, and when a supervisor gave up. Where the two differ on purpose, the generator stays away
and docs/design/supervision.md says why.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections import Counter
from itertools import zip_longest
from pathlib import Path

import pytest
from otp_cases import Case, Simulation, random_case
from sizes import sized

HERE = Path(__file__).parent
CASES = int(os.environ.get("NULLBOX_OTP_CASES") or sized(3000))
BASE = int(os.environ.get("NULLBOX_CRASH_SEED") or 0)

needs_erlang = pytest.mark.skipif(
    shutil.which("erlc") is None or shutil.which("erl") is None,
    reason="needs Erlang/OTP (Debian: erlang-base)",
)


def run_otp(cases: list[Case]) -> list[str]:
    """One Erlang for all cases."""
    with tempfile.TemporaryDirectory(prefix="nb-otp-") as folder:
        subprocess.run(["erlc", "-o", folder, HERE / "otp_supervisor.erl"], check=True, timeout=60)
        batch = Path(folder) / "cases.terms"
        batch.write_text("\n".join(case.erlang() for case in cases) + "\n")
        done = subprocess.run(
            ["erl", "-noshell", "-pa", folder, "-run", "otp_supervisor", "main", batch],
            capture_output=True,
            text=True,
            timeout=240,
            env={**os.environ, "HOME": folder},
        )
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-2000:]
    return done.stdout.splitlines()


@needs_erlang
def test_decide_does_what_otp_does() -> None:
    print(f"NULLBOX_CRASH_SEED={BASE} NULLBOX_OTP_CASES={CASES}")
    cases = [random_case(seed) for seed in range(BASE, BASE + CASES)]
    by_name = {case.name: case for case in cases}
    ours = [line for case in cases for line in Simulation(case).run()]
    theirs = run_otp(cases)
    seen: Counter[str] = Counter()
    for mine, other in zip_longest(ours, theirs):
        name = (other or mine).split()[0]
        assert mine == other, (
            f"{name}: replay: NULLBOX_CRASH_SEED={name.removeprefix('seed_')} NULLBOX_OTP_CASES=1\n"
            f"decide: {mine}\nOTP:    {other}\n{by_name[name].erlang()}"
        )
        seen["gave up" if "| down |" in other and " shutdown" not in other else "lived on"] += 1
        seen["restarted something"] += "start:" in other and " 0 " not in other
        seen["stopped something"] += "stop:" in other and " shutdown" not in other
    print(f"{len(cases)} cases, {len(theirs)} steps: {dict(seen)}")
    if CASES >= 1000:
        for what in ("gave up", "restarted something", "stopped something"):
            assert seen[what] > CASES // 10, f"too few steps in which a supervisor {what}"

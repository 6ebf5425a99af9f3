"""Every benchmark of this folder, one after the other, into one file, with a table and a chart per area.

    python -m bench [--quick] [--json build/bench.json] [AREA …]

Each area runs in a process of its own and measures itself beside its baseline. Where one misses a target, a profile of
it is recorded afterwards (see `profiles`). The end is a failure where one misses a target or does not run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench import profiles, report

PROFILE_SECONDS, QUICK_PROFILE_SECONDS = 60, 8

AREAS = ("actors", "supervision", "egress", "ctxgraph", "gateway", "boot", "cage")


def machine() -> dict[str, str]:
    """What the figures were taken on."""
    cpuinfo = Path("/proc/cpuinfo").read_text().splitlines()
    model = next((line.partition(":")[2].strip() for line in cpuinfo if line.startswith("model name")), "unknown")
    memory = int(Path("/proc/meminfo").read_text().split()[1]) // 1024
    return {
        "processor": f"{os.cpu_count()} × {model}",
        "memory": f"{memory} MB",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load at the start": f"{os.getloadavg()[0]:.2f}",
    }


def run(area: str, quick: bool, directory: Path) -> dict[str, Any] | None:
    """What the area found, or None where it did not run to its end."""
    print(f"=== {area}", flush=True)
    output = directory / f"{area}.json"
    command = [sys.executable, "-m", f"bench.{area}", "--json", str(output), *(["--quick"] if quick else [])]
    began = time.monotonic()
    subprocess.run(command, cwd=Path(__file__).parent.parent, check=False)
    print(f"=== {area}: {time.monotonic() - began:.0f} s", flush=True)
    found: dict[str, Any] | None = json.loads(output.read_text()) if output.exists() else None
    return found


def add_profiles(areas: dict[str, Any], directory: Path, seconds: int) -> None:
    """Record a profile of each area that misses a target, and note its file with the area."""
    for area, found in areas.items():
        if area not in profiles.EMULATED and not all(target["met"] for target in found["targets"]):
            found["profile"] = profiles.record(area, directory, seconds)


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the benchmarks, each beside its baseline.")
    parser.add_argument("--json", type=Path, default=Path(__file__).parent.parent / "build" / "bench.json")
    parser.add_argument("--quick", action="store_true", help="smaller sizes: all of it within five minutes")
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"some of {', '.join(AREAS)}; all by default")
    options = parser.parse_args()
    if unknown := sorted(set(options.areas) - set(AREAS)):
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(AREAS)}")
    results: dict[str, Any] = {"machine": machine(), "quick": options.quick, "areas": {}}
    failed = []
    with tempfile.TemporaryDirectory(prefix="nullbox-bench-") as directory:
        for area in options.areas or AREAS:
            if (found := run(area, options.quick, Path(directory))) is None:
                failed.append(f"{area} did not run")
                continue
            results["areas"][area] = found
            failed += [f"{area}.{target['name']}" for target in found["targets"] if not target["met"]]
    results["missed"] = failed
    options.json.parent.mkdir(parents=True, exist_ok=True)
    add_profiles(results["areas"], options.json.parent, QUICK_PROFILE_SECONDS if options.quick else PROFILE_SECONDS)
    options.json.write_text(json.dumps(results, indent=1) + "\n")
    print(f"=== {options.json}, {report.write(results, options.json.parent)}")
    print("all targets met" if not failed else "missed: " + ", ".join(failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

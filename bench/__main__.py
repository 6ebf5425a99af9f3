"""Every benchmark of this folder, one after the other, into one file.

    python -m bench [--json build/bench.json] [NAME …]

Each runs in a process of its own and measures itself beside its baseline. The end is a failure where one misses a
target or does not run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def run(name: str, directory: Path) -> tuple[bool, Any]:
    """Whether it met its targets, and what it wrote."""
    print(f"=== {name}", flush=True)
    output = directory / f"{name}.json"
    done = subprocess.run([sys.executable, str(FOLDER / f"{name}.py"), "--json", str(output)], check=False)
    found = json.loads(output.read_text()) if output.exists() else None
    return done.returncode == 0, found


def main() -> int:
    names = sorted(path.stem for path in FOLDER.glob("[a-z]*.py"))
    parser = argparse.ArgumentParser(description="Run the benchmarks, each beside its baseline.")
    parser.add_argument("--json", type=Path, default=FOLDER.parent / "build" / "bench.json")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"some of {', '.join(names)}; all by default")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(names)):
        parser.error(f"no benchmark {unknown[0]}; there are {', '.join(names)}")
    results: dict[str, Any] = {}
    missed = []
    with tempfile.TemporaryDirectory(prefix="nullbox-bench-") as directory:
        for name in options.names or names:
            good, results[name] = run(name, Path(directory))
            if not good:
                missed.append(name)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps({"cpus": os.cpu_count(), "missed": missed, "results": results}, indent=1) + "\n")
    print(
        f"=== written to {options.json}; " + (f"targets missed: {', '.join(missed)}" if missed else "all targets met")
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())

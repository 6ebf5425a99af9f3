"""Where the time of an area goes: a flame graph of all its processes, by py-spy (edge).

The area runs once more, at its quick sizes: a sampled run is slower than the one that was judged.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PY_SPY = Path(sys.executable).parent / "py-spy"
EMULATED = ("boot", "cage")
"""Areas whose time passes inside of a virtual machine, where py-spy does not look."""
RATE = 100
"""Samples a second."""
ENDING = 60.0
"""Seconds that py-spy may take to end the area and to draw."""


def record(area: str, directory: Path, seconds: int) -> str | None:
    """Record the first seconds of a quick run of the area. Returns the name of the SVG in the folder; None where
    there is none, with the reason on standard error."""
    name = f"profile-{area}.svg"
    output = directory / name
    output.unlink(missing_ok=True)
    sampled = [sys.executable, "-m", f"bench.{area}", "--quick"]
    options = ["--subprocesses", "--rate", str(RATE), "--duration", str(seconds), "--output", str(output)]
    try:
        done = subprocess.run(
            [PY_SPY, "record", *options, "--", *sampled],
            cwd=Path(__file__).parent.parent,
            capture_output=True,
            text=True,
            timeout=seconds + ENDING,
        )
        why = done.stderr[-2000:]
    except (OSError, subprocess.TimeoutExpired) as error:
        why = str(error)
    if output.exists():
        return name
    print(f"no profile of {area}: {why}", file=sys.stderr)
    return None

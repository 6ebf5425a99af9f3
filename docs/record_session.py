"""Record a session for the README: `python docs/record_session.py` writes docs/images/session.svg.

It runs each command below against the system at `$NULLD_SOCKET` and draws what came out; nothing is written by hand.
Wants the extra `docs` (rich).
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

from rich.console import Console
from rich.text import Text

TARGET = Path(__file__).parent / "images" / "session.svg"
WIDTH = 92
COMMANDS = (
    "nullctl tree",
    "nullctl agent logs pulse --tail 1",
    "nullctl ctx latest reader.summary",
    "nullctl egress explain pulse example.com",
    "nullctl agent pause pulse",
    "nullctl agent list",
    "nullctl agent resume pulse",
)


def wait_for(command: str, environment: Mapping[str, str], seconds: float = 180.0) -> None:
    """Until the command succeeds: a system that has just booted has not written everything yet."""
    deadline = time.monotonic() + seconds
    while subprocess.run(command.split(), env=environment, capture_output=True).returncode:
        if time.monotonic() > deadline:
            sys.exit(f"`{command}` does not succeed")
        time.sleep(1.0)


def main() -> None:
    """Run, record, draw."""
    environment = {**os.environ, "COLUMNS": str(WIDTH), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    wait_for("nullctl ctx latest reader.summary", environment)
    console = Console(record=True, width=WIDTH, file=StringIO(), force_terminal=True)
    for command in COMMANDS:
        done = subprocess.run(command.split(), env=environment, capture_output=True, text=True, timeout=120, check=True)
        console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
        console.print(Text.from_ansi(done.stdout.rstrip("\n")))
        console.print()
    drawn = console.export_svg(title="NullBox", unique_id="nullbox")
    # Fonts from a foreign server are not fetched by readers' browsers, and need not be.
    TARGET.write_text(re.sub(r"\s*@font-face \{.*?\}", "", drawn, flags=re.DOTALL))


if __name__ == "__main__":
    main()

"""Effects: the last crash report as a file, for PID 1's recovery hold."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LARGEST = 16384
"""Characters; the end of a traceback is what says what went wrong."""


def leave_report(path: Path, text: str, *, after: bool = False) -> None:
    """Replace the report, or put this one after what it says. One that cannot be written is lost, and stops nobody."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(OSError):
        earlier = path.read_text(errors="replace") if after and path.exists() else ""
        partial.write_text((earlier + text)[-LARGEST:].rstrip() + "\n", errors="replace")
        partial.replace(path)

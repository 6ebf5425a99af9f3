"""PID 1's log: lines to `/dev/kmsg`, so that they stand in one order with the kernel's own."""

from __future__ import annotations

import os
from enum import IntEnum


class Level(IntEnum):
    """Syslog severities as the kernel uses them (`dev-kmsg`, `printk(9)`)."""

    ERROR = 3
    WARNING = 4
    INFO = 6


KERN_DAEMON = 3 << 3
"""Facility `daemon`: tells our lines from the kernel's."""

MAX_LINE = 900
"""The kernel cuts a record at about 1,000 bytes; a longer line is cut here, visibly."""


def record(level: Level, text: str) -> bytes:
    """The bytes of one kmsg record. Line breaks would start a new record, so they are spelled out."""
    flat = text.replace("\n", "\\n")
    if len(flat) > MAX_LINE:
        flat = flat[:MAX_LINE] + "…"
    return f"<{KERN_DAEMON | level}>nullbox: {flat}".encode(errors="replace")


class KernelLog:
    """Writes records; falls back to standard error while there is no `/dev/kmsg`. Never raises: a log line is no
    reason for PID 1 to stop."""

    def __init__(self, path: str = "/dev/kmsg") -> None:
        self._path = path
        self._fd = -1

    def __call__(self, text: str, level: Level = Level.INFO) -> None:
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._fd, record(level, text))
        except OSError:
            try:
                os.write(2, record(level, text) + b"\n")
            except OSError:
                return

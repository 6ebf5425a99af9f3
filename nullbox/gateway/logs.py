"""An agent's log file as lines with their times. Effects: reads that file; follows it by looking again.

The file belongs to the agent's cage, which writes one line of console a line, each begun by the time that it was
read at (RFC 3339, UTC) and a space. It is capped there: the file can shrink and be replaced while it is followed.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

LOOK_EVERY = 0.25
"""Seconds between two looks at a file that is followed."""
MOST_LINES = 5000
MOST_BYTES = 512 * 1024
"""What one answer holds at most: the newest lines, well below the limit of a message after JSON's escapes."""
LONGEST_LINE = 16 * 1024


@dataclass(frozen=True, slots=True)
class LogLine:
    """ts: seconds since the epoch; None for a line that does not say."""

    ts: float | None
    text: str

    def plain(self) -> dict[str, Any]:
        return {"ts": self.ts, "text": self.text}


def parse_line(raw: bytes) -> LogLine:
    """One line of the file. What is no UTF-8 is replaced, what is too long is cut."""
    text = raw[:LONGEST_LINE].decode("utf-8", "replace").rstrip("\r\n")
    stamp, _, rest = text.partition(" ")
    if len(stamp) >= 19 and stamp[:4].isdigit() and "T" in stamp:
        try:
            moment = datetime.fromisoformat(stamp)
        except ValueError:
            return LogLine(None, text)
        if moment.tzinfo is not None:
            return LogLine(moment.timestamp(), rest)
    return LogLine(None, text)


def select(lines: list[LogLine], tail: int | None, since: float | None) -> list[LogLine]:
    """The lines that were asked for. A line without a time belongs to the one before it."""
    if since is not None:
        kept, last = [], None
        for line in lines:
            last = line.ts if line.ts is not None else last
            if last is not None and last >= since:
                kept.append(line)
        lines = kept
    most = MOST_LINES if tail is None else min(tail, MOST_LINES)
    return lines[-most:] if most else []


def read(path: Path, tail: int | None = None, since: float | None = None) -> list[LogLine]:
    """The newest lines of a log, oldest first. No file, no lines: the agent never ran."""
    lines, _, _ = _read_end(path)
    return select(lines, tail, since)


async def follow(path: Path, tail: int | None = None, since: float | None = None) -> AsyncIterator[dict[str, Any]]:
    """The lines of `read`, then each new one as it comes, for ever. Survives the file's being replaced."""
    lines, position, inode = _read_end(path)
    for line in select(lines, tail, since):
        yield line.plain()
    rest = b""
    while True:
        await asyncio.sleep(LOOK_EVERY)
        try:
            with path.open("rb") as file:
                state = os.fstat(file.fileno())
                if state.st_ino != inode or state.st_size < position:
                    inode, position, rest = state.st_ino, 0, b""
                file.seek(position)
                fresh = file.read(MOST_BYTES)
        except FileNotFoundError:
            continue
        position += len(fresh)
        *whole, rest = (rest + fresh).split(b"\n")
        if len(rest) > LONGEST_LINE:
            whole.append(rest)
            rest = b""
        for raw in whole:
            yield parse_line(raw).plain()


def _read_end(path: Path) -> tuple[list[LogLine], int, int]:
    """Lines of the end of the file, the offset after the last whole one, and the inode (-1: no file)."""
    try:
        with path.open("rb") as file:
            return (*_last_lines(file), os.fstat(file.fileno()).st_ino)
    except FileNotFoundError:
        return [], 0, -1


def _last_lines(file: BinaryIO) -> tuple[list[LogLine], int]:
    size = file.seek(0, os.SEEK_END)
    start = max(0, size - MOST_BYTES)
    file.seek(start)
    data = file.read(size - start)
    if start:
        _, _, data = data.partition(b"\n")
    end = data.rfind(b"\n") + 1
    lines = [parse_line(raw) for raw in data[:end].split(b"\n")[:-1]]
    return lines, size - (len(data) - end)

"""An agent's log as lines with their times. Effects: reads the two files that its cage keeps; looks again to follow.

The cage (`cage.console`) writes `NAME.log`, each line begun by the time that it was read at and a space, with the
guest's control characters made harmless; now and then the file becomes `NAME.log.1` and a new one begins.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

LOOK_EVERY = 0.25
"""Seconds between two looks at a log that is followed."""
CHUNK = 128 * 1024
PAGE = 256 * 1024
"""Bytes of the newest lines that one answer holds. JSON makes at most three of each; an answer is at most 1 MiB."""


@dataclass(frozen=True, slots=True)
class LogLine:
    """ts: seconds since the epoch; None for a line that does not say."""

    ts: float | None
    text: str

    def plain(self) -> dict[str, Any]:
        return {"ts": self.ts, "text": self.text}


def parse_line(raw: bytes) -> LogLine:
    """One line of the file."""
    text = raw.decode("utf-8", "backslashreplace")
    stamp, _, rest = text.partition(" ")
    if len(stamp) >= 20 and stamp[10] == "T" and stamp[:4].isdigit():
        try:
            moment = datetime.fromisoformat(stamp)
        except ValueError:
            return LogLine(None, text)
        if moment.tzinfo is not None:
            return LogLine(moment.timestamp(), rest)
    return LogLine(None, text)


class Reader:
    """Reads a log forward, in whole lines, across its changes of file. `oldest` begins with all that is kept."""

    def __init__(self, path: Path, *, oldest: bool = True) -> None:
        self._path = path
        self._previous = path.with_name(f"{path.name}.1")
        self._inode = -1
        self._offset = 0
        self._rest = b""
        for start in (self._previous, path) if oldest else (path,):
            if start.exists():
                self._inode = start.stat().st_ino
                break

    def from_end(self, most: int) -> list[bytes]:
        """The newest lines within `most` bytes; what follows is read after them."""
        older = _tail(self._previous, most)[0]
        newer, self._offset, self._inode = _tail(self._path, most)
        left = most - sum(len(line) + 1 for line in newer)
        kept = []
        for line in reversed(older):
            left -= len(line) + 1
            if left < 0:
                break
            kept.append(line)
        return [*reversed(kept), *newer]

    def more(self) -> list[bytes]:
        """The next lines that are whole; none if there is nothing new."""
        try:
            current = self._path.stat().st_ino
        except FileNotFoundError:
            return []
        if self._inode not in (current, -1):
            # What was read became NAME.log.1, or is gone; finish it before the new file.
            if lines := self._read(self._previous):
                return lines
            self._offset, self._rest = 0, b""
        self._inode = current
        return self._read(self._path)

    def _read(self, path: Path) -> list[bytes]:
        while True:
            try:
                with path.open("rb") as file:
                    state = os.fstat(file.fileno())
                    if state.st_ino != self._inode:
                        return []
                    if state.st_size < self._offset:
                        self._offset, self._rest = 0, b""
                    data = os.pread(file.fileno(), CHUNK, self._offset)
            except FileNotFoundError:
                return []
            self._offset += len(data)
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines or not data:
                return lines


class Since:
    """Keeps lines from a time on. A line without a time belongs to the one before it."""

    def __init__(self, since: float | None) -> None:
        self._since = since
        self._passed = since is None

    def keep(self, line: LogLine) -> bool:
        if not self._passed and line.ts is not None and self._since is not None:
            self._passed = line.ts >= self._since
        return self._passed


def newest(path: Path, tail: int | None = None, since: float | None = None) -> list[LogLine]:
    """The newest lines that fit one answer, oldest first. No file, no lines: the agent never ran."""
    raw = Reader(path).from_end(PAGE)
    return _selected(raw, tail, since)


def _selected(raw: list[bytes], tail: int | None, since: float | None) -> list[LogLine]:
    keeper = Since(since)
    lines = [line for line in map(parse_line, raw) if keeper.keep(line)]
    return lines if tail is None else lines[max(0, len(lines) - tail) :]


async def stream(
    path: Path, *, tail: int | None = None, since: float | None = None, follow: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """The lines that are kept (with `tail`, the last ones), then, with `follow`, each new one, for ever."""
    reader = Reader(path)
    keeper = Since(since)
    if tail is not None:
        for line in _selected(reader.from_end(PAGE), tail, since):
            yield line.plain()
        keeper = Since(None)
    while True:
        raw = reader.more()
        for line in map(parse_line, raw):
            if keeper.keep(line):
                yield line.plain()
        if not raw:
            if not follow:
                return
            await asyncio.sleep(LOOK_EVERY)


def _tail(path: Path, most: int) -> tuple[list[bytes], int, int]:
    """Whole lines of the end of a file, the offset behind them, and the inode (-1: no file)."""
    try:
        with path.open("rb") as file:
            state = os.fstat(file.fileno())
            start = max(0, state.st_size - most)
            data = os.pread(file.fileno(), most, start)
    except FileNotFoundError:
        return [], 0, -1
    end = data.rfind(b"\n") + 1
    lines = data[:end].split(b"\n")[:-1]
    if start and lines:
        lines.pop(0)
    return lines, start + end, state.st_ino

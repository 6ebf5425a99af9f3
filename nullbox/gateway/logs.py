"""An agent's log as lines with their times. Effects: reads the two files that its cage keeps; looks again to follow.

The cage (`cage.console`) writes `NAME.log`, each line begun by the time that it was read at and a space, with the
guest's control characters made harmless; now and then the file becomes `NAME.log.1` and a new one begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

LOOK_EVERY = 0.25
"""Seconds between two looks at a log that is followed."""
CHUNK = 128 * 1024
HEAD = 256
"""Bytes of a file's beginning by which it is known again: some stamps, to the millisecond, and what was written."""
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
    """Reads a log forward, in whole lines, across its changes of file. It begins with all that is kept, unless
    `from_end` was called.

    A file is known again by its inode and its beginning: where inodes are given out anew at once, the file of now may
    have the number of the one before the last.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._previous = path.with_name(f"{path.name}.1")
        self._inode = -1
        self._head = b""
        self._offset = 0
        self._rest = b""

    def from_end(self, most: int) -> list[bytes]:
        """The newest lines within `most` bytes; what follows is read after them."""
        with self._opened() as (previous, current):
            older, older_end = _tail(previous, most)
            newer, newer_end = _tail(current, most)
            self._take(current if current >= 0 else previous)
            self._offset = newer_end if current >= 0 else older_end
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
        with self._opened() as (previous, current):
            if not self._is(current):
                if not self._is(previous):
                    # Nothing was read yet, or what was read is dropped by now: all that is kept is new.
                    self._take(previous if previous >= 0 else current)
                if self._is(previous) and ((lines := self._read(previous)) or current < 0):
                    return lines
                self._take(current)
            return self._read(current)

    @contextlib.contextmanager
    def _opened(self) -> Iterator[tuple[int, int]]:
        """Descriptors of the two files, -1 for one that is not there. Never the same file twice: if it changes its name
        between the two, it is the older one, and the newer one is for the next look."""
        current = _open(self._path)
        previous = _open(self._previous)
        try:
            if min(current, previous) >= 0 and os.path.sameopenfile(current, previous):
                os.close(current)
                current = -1
            yield previous, current
        finally:
            for descriptor in (previous, current):
                if descriptor >= 0:
                    os.close(descriptor)

    def _is(self, descriptor: int) -> bool:
        """Whether this is the file that is being read."""
        if descriptor < 0:
            return False
        state = os.fstat(descriptor)
        if state.st_ino != self._inode or state.st_size < self._offset:
            return False
        return os.pread(descriptor, len(self._head), 0) == self._head

    def _take(self, descriptor: int) -> None:
        """Go on with this file, from its beginning."""
        self._offset, self._rest, self._head, self._inode = 0, b"", b"", -1
        if descriptor >= 0:
            self._inode = os.fstat(descriptor).st_ino
            self._head = os.pread(descriptor, HEAD, 0)

    def _read(self, descriptor: int) -> list[bytes]:
        if descriptor < 0:
            return []
        if len(self._head) < HEAD:
            self._head = os.pread(descriptor, HEAD, 0)
        while True:
            data = os.pread(descriptor, CHUNK, self._offset)
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


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return -1


def _tail(descriptor: int, most: int) -> tuple[list[bytes], int]:
    """Whole lines of the end of a file (-1: none), and the offset behind them."""
    if descriptor < 0:
        return [], 0
    size = os.fstat(descriptor).st_size
    start = max(0, size - most)
    data = os.pread(descriptor, most, start)
    end = data.rfind(b"\n") + 1
    lines = data[:end].split(b"\n")[:-1]
    if start and lines:
        lines.pop(0)
    return lines, start + end

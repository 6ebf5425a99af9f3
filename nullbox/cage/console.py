"""An agent's output, kept in a capped log of stamped lines (edge module: files).

Each line begins with the time at which it was read (RFC 3339, UTC) and a space. What a guest writes is made harmless on
its way in, so that whoever shows the file, in whatever way, sends no guest's control characters to a terminal.

At half the cap the file becomes `NAME.log.1`, and the one before that is dropped: between half and all of the cap is
kept, the oldest goes first, and once something was dropped, the first line of a file says so. A line is written as it
comes, piece by piece, so that a writer that dies loses nothing of what it read.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

CAP = 8 * 1024 * 1024
"""Most bytes kept of one agent's output."""

LONGEST_LINE = 8 * 1024
"""Characters after which a line is broken: an output without newlines is still one of lines."""

DROPPED = "[nullbox: older output was dropped]"

_UNSAFE = re.compile(
    "[^\t\x20-\x7e\u00a1-\U0010ffff]"  # controls of ASCII and Latin-1, and the no-break space
    "|[\u00ad\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"  # invisible, or turning text round
    "|[\ud800-\udfff\ufffe\uffff]"
)


def printable(text: str) -> str:
    """One line of text that is safe for a terminal and for whoever reads it.

    Control, invisible and direction characters become `\\x1b` or `\\u202e`; tab stays.
    """
    return _UNSAFE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def stamp(now: float) -> str:
    """Seconds since the epoch as RFC 3339 with milliseconds."""
    return datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Lines:
    """Bytes in, pieces of stamped lines out. Pure: it remembers only where in a line it is."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._column = 0

    @property
    def inside(self) -> bool:
        """Whether the last line has no end yet."""
        return self._column > 0

    def feed(self, data: bytes, now: float) -> Iterator[str]:
        """The text to append: every piece belongs to one line, and begins with the stamp at the line's start."""
        *whole, rest = self._decoder.decode(data).split("\n")
        for line in whole:
            yield from self._line(line.removesuffix("\r"), ended=True, now=now)
        yield from self._line(rest, ended=False, now=now)

    def end(self) -> Iterator[str]:
        """End a line that has none."""
        if self.inside:
            self._column = 0
            yield "\n"

    def _line(self, text: str, *, ended: bool, now: float) -> Iterator[str]:
        while text:
            room = LONGEST_LINE - self._column
            piece, text = text[:room], text[room:]
            head = f"{stamp(now)} " if self._column == 0 else ""
            self._column += len(piece)
            full = self._column >= LONGEST_LINE
            if full:
                self._column = 0
            yield head + printable(piece) + ("\n" if full else "")
        if ended:
            # An empty line is a line, too.
            yield "\n" if self._column else f"{stamp(now)} \n"
            self._column = 0


class ConsoleLog:
    """The writer; one per agent. Continues an existing log."""

    def __init__(self, path: Path, cap: int = CAP) -> None:
        """Raises OSError: the log cannot be opened."""
        self._path = path
        self._half = cap // 2
        self._lines = Lines()
        path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = self._open()
        self._size = os.fstat(self._descriptor).st_size
        self._at_start = self._size > 0
        if self._size and os.pread(self._descriptor, 1, self._size - 1) != b"\n":
            self._at_start = False
            self._append("\n")

    def write(self, data: bytes, now: float) -> None:
        """Append what the guest wrote. now: seconds since the epoch. Raises OSError (no space left)."""
        for piece in self._lines.feed(data, now):
            self._append(piece)

    def note(self, text: str, now: float) -> None:
        """Add a line of the system's own, in brackets."""
        for piece in self._lines.end():
            self._append(piece)
        self._append(f"{stamp(now)} [nullbox: {printable(text)}]\n")

    def close(self) -> None:
        """End an unfinished line and close the file."""
        if self._descriptor >= 0:
            for piece in self._lines.end():
                self._append(piece)
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> int:
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
        return os.open(self._path, flags, 0o640)

    def _append(self, text: str) -> None:
        data = text.encode(errors="backslashreplace")
        # Only between two lines, so that no file begins in the middle of one.
        if self._at_start and self._size + len(data) > self._half:
            self._change_over()
        self._at_start = data.endswith(b"\n")
        view = memoryview(data)
        while view:
            written = os.write(self._descriptor, view)
            self._size += written
            view = view[written:]

    def _change_over(self) -> None:
        previous = self._path.with_name(f"{self._path.name}.1")
        dropped = previous.exists()
        self._path.rename(previous)
        os.close(self._descriptor)
        self._descriptor = self._open()
        self._size = 0
        self._at_start = False
        if dropped:
            self._append(f"{DROPPED}\n")

"""Cut a byte stream into lines, whatever the pieces it arrives in, within a bound of memory.

Pure: bytes in, lines out. The one decision here is the resynchronisation rule for a line that is too long:
it is reported once, as `TooLong`, as soon as it is known to be too long; all of it up to and with its newline
is dropped; the line after it is read as usual. A stream socket closes after that, an endless channel (a
virtio-serial port) goes on.

Lines end with LF; one CR before it is dropped, so that a person with a terminal can talk to the daemon. Empty
lines are not delivered: a client of an endless channel begins with one to cut off whatever half line its
predecessor left behind.
"""

from __future__ import annotations

from dataclasses import dataclass

MAX_LINE = 1 << 20
"""Longest line in bytes, newline not counted (contract of the gateway)."""


@dataclass(frozen=True, slots=True)
class TooLong:
    """In the place of a line that was longer than `limit` bytes. Its text is gone."""

    limit: int


class LineSplitter:
    """Incremental splitter: `feed` it what arrived, get the lines that are complete now.

    Memory is bounded by `limit` plus the size of the last piece.
    """

    __slots__ = ("_partial", "_skipping", "limit")

    def __init__(self, limit: int = MAX_LINE) -> None:
        if limit < 1:
            raise ValueError(f"a line limit of {limit} bytes leaves no room for a line; give 1 or more")
        self.limit = limit
        self._partial = bytearray()
        self._skipping = False

    @property
    def pending(self) -> int:
        """Bytes of an unfinished line that are held; 0 between lines. A dropped line counts 1."""
        return len(self._partial) or int(self._skipping)

    def reset(self) -> None:
        """Forget the unfinished line: the peer that began it is gone."""
        self._partial.clear()
        self._skipping = False

    def feed(self, data: bytes) -> list[bytes | TooLong]:
        """Take the next piece of the stream; return the lines that it completed, without newlines."""
        if data.find(b"\n") == len(data) - 1 <= self.limit and not self._partial and not self._skipping:
            # The usual case, one whole line, without a copy into the partial one and out of it.
            line = data[:-2] if data.endswith(b"\r\n") else data[:-1]
            return [line] if line else []
        lines: list[bytes | TooLong] = []
        start = 0
        while (end := data.find(b"\n", start)) >= 0:
            self._take(data[start:end], lines)
            self._finish(lines)
            start = end + 1
        if start < len(data):
            self._take(data[start:], lines)
        return lines

    def _take(self, piece: bytes, lines: list[bytes | TooLong]) -> None:
        if self._skipping:
            return
        # One byte more than the limit may be the CR of a CR LF pair; it is settled when the line ends.
        allowed = self.limit + (piece.endswith(b"\r") or (not piece and self._partial.endswith(b"\r")))
        if len(self._partial) + len(piece) > allowed:
            self._partial.clear()
            self._skipping = True
            lines.append(TooLong(self.limit))
            return
        self._partial += piece

    def _finish(self, lines: list[bytes | TooLong]) -> None:
        if self._skipping:
            self._skipping = False
            return
        line = bytes(self._partial)
        self._partial.clear()
        if line.endswith(b"\r"):
            line = line[:-1]
        if line:
            lines.append(line)

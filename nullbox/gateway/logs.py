"""An agent's console as lines that are safe to show. Effects: reads the log of its cage, looking again to follow it.

The log holds what the guest wrote, byte for byte; what leaves here is text without control characters, so that no
client's terminal obeys a guest. Positions count all bytes that the agent ever wrote (`cage.console`).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nullbox.cage import console

LOOK_EVERY = 0.25
"""Seconds between two looks at a log that is followed."""
PAGE = 64 * 1024
"""Bytes of one answer at most. An empty line is one byte here and 14 in an answer, which is at most 1 MiB."""
MOST_LINES = 10_000
LONGEST_LINE = 16 * 1024
"""A line that is longer is shown in pieces of this many bytes."""


@dataclass(frozen=True, slots=True)
class Page:
    """Lines of a log; `position` is where the next page begins; `gap` counts bytes that were dropped before it."""

    lines: list[str]
    position: int
    gap: int = 0

    def plain(self, name: str) -> dict[str, Any]:
        lines = [{"text": text} for text in self.lines]
        return {"name": name, "lines": lines, "position": self.position, "gap": self.gap}


def page(path: Path, position: int) -> Page:
    """What was written from `position` on, in whole lines where there are any. No lines: nothing new."""
    chunk = console.read_from(path, position, PAGE)
    data = chunk.data
    if len(data) == PAGE:
        data = data[: data.rfind(b"\n") + 1] or data
    return Page(split(data), chunk.start + len(data), chunk.gap)


def last(path: Path, count: int) -> Page:
    """The last `count` lines, or as many of them as one answer holds."""
    chunk = console.tail(path, min(count, MOST_LINES))
    data = chunk.data
    if len(data) > PAGE:
        data = data[-PAGE:]
        data = data[data.find(b"\n") + 1 :]
    return Page(split(data), chunk.end)


def split(data: bytes) -> list[str]:
    """Bytes of a log as printable lines."""
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()
    return [
        console.printable(line[start : start + LONGEST_LINE])
        for line in (line.removesuffix(b"\r") for line in lines)
        for start in range(0, max(1, len(line)), LONGEST_LINE)
    ]


async def follow(path: Path, first: Page) -> AsyncIterator[dict[str, Any]]:
    """The lines of `first`, then each new line once it is whole, for ever."""
    for text in first.lines:
        yield {"text": text}
    position, rest = first.position, b""
    while True:
        chunk = console.read_from(path, position, PAGE)
        position = chunk.end
        if not chunk.data:
            await asyncio.sleep(LOOK_EVERY)
            continue
        if chunk.gap:
            rest = b""
            yield {"text": f"[nullbox: {chunk.gap} bytes were dropped here]"}
        whole, newline, rest = (rest + chunk.data).rpartition(b"\n")
        if len(rest) > LONGEST_LINE:
            whole, newline, rest = whole + newline + rest, b"", b""
        for text in split(whole + newline):
            yield {"text": text}

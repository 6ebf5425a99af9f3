"""Show how far a long build is: objects done of roughly so many, and the time taken (pure, but for the writer)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TextIO

# The short lines of the kernel's make that stand for one compiled object.
OBJECT_LINE = re.compile(r"\s+(?:HOST)?(?:CC|AS)\s+(?:\[M\]\s+)?(\S+)")

PLAIN_SECONDS = 15.0
TERMINAL_SECONDS = 0.5


def compiled_object(line: str) -> str | None:
    """The object that a line of make's output says is being compiled, else None."""
    match = OBJECT_LINE.match(line)
    return match[1] if match else None


def render(step: str, done: int, total: int, elapsed: float) -> str:
    """One progress line; `total` is an estimate, so a build that goes past it only loses its percentage."""
    minutes, seconds = divmod(int(elapsed), 60)
    clock = f"{minutes}:{seconds:02d}"
    if not done:
        return f"kernel: {step} ({clock})"
    share = f", about {100 * done // total} %" if done < total else ""
    return f"kernel: {step}: {done} objects of roughly {max(done, total)}{share} ({clock})"


@dataclass
class Progress:
    """Writes progress lines: one line that is overwritten on a terminal, else a line now and then.

    Times are seconds of any monotonic clock, given by the caller.
    """

    out: TextIO
    total: int
    started: float
    step: str = ""
    done: int = 0
    _shown: float = float("-inf")
    _open: bool = False

    def __post_init__(self) -> None:
        self._terminal = self.out.isatty()

    @property
    def interval(self) -> float:
        """Seconds between two lines."""
        return TERMINAL_SECONDS if self._terminal else PLAIN_SECONDS

    def begin(self, step: str, now: float) -> None:
        """Start another step; shown at once."""
        self.step = step
        self._show(now)

    def feed(self, line: str, now: float) -> None:
        """Take a line of make's output into account."""
        if compiled_object(line):
            self.done += 1
        self.tick(now)

    def tick(self, now: float) -> None:
        """Show a line when the last one is old enough, even if nothing was compiled meanwhile."""
        if now - self._shown >= self.interval:
            self._show(now)

    def say(self, text: str) -> None:
        """Write a line of its own."""
        self._close()
        self.out.write(text + "\n")
        self.out.flush()

    def finish(self) -> None:
        """End a line that is still being overwritten."""
        self._close()

    def _show(self, now: float) -> None:
        self._shown = now
        line = render(self.step, self.done, self.total, now - self.started)
        if self._terminal:
            self.out.write(f"\r\x1b[K{line}")
            self._open = True
        else:
            self.out.write(line + "\n")
        self.out.flush()

    def _close(self) -> None:
        if self._open:
            self.out.write("\n")
            self._open = False

"""Restart intensity: how many restarts in how long are too many. OTP's sliding window, made to survive backoff.

OTP counts the restarts of the last `period` seconds, the present one and one of exactly `period` ago included,
and gives up when there are more than `max_restarts` (`supervisor.erl`, `add_restart/1`). There a restart is
immediate. With backoff that rule alone would be void: a child that dies at once for ever and waits 30 s each time
restarts twice a minute and never meets a limit of five. So the time that restarts were made to wait does not age
the window: an entry counts for `period` plus all delays imposed since. Without backoff this is OTP's rule.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Intensity:
    """More than `max_restarts` restarts within `period` seconds are too many."""

    max_restarts: int = 5
    period: float = 60.0

    def problems(self) -> list[tuple[str, str]]:
        """Every wrong field with what was found and what would be right."""
        found: list[tuple[str, str]] = []
        count, period = self.max_restarts, self.period
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            found.append(("max_restarts", f"is {count!r}; allowed: a whole number from 0"))
        if isinstance(period, bool) or not isinstance(period, int | float) or not 0 < period < float("inf"):
            found.append(("period", f"is {period!r}; allowed: seconds above 0"))
        return found


@dataclass(slots=True)
class Window:
    """The restarts that count now: (time, delay imposed), oldest first, and the sum of their delays."""

    entries: deque[tuple[float, float]] = field(default_factory=deque)
    delays: float = 0.0

    def count(self, now: float, period: float) -> int:
        """How many restarts count at `now`. Changes nothing."""
        delays = self.delays
        left = len(self.entries)
        for when, imposed in self.entries:
            if now - when <= period + delays:
                break
            delays -= imposed
            left -= 1
        return left

    def add(self, now: float, limit: Intensity) -> bool:
        """Record a restart at `now`, forget those too old to count; False when it is one too many."""
        entries = self.entries
        while entries and now - entries[0][0] > limit.period + self.delays:
            self.delays -= entries.popleft()[1]
        if not entries:
            self.delays = 0.0  # no rounding error outlives the entries it came from
        entries.append((now, 0.0))
        return len(entries) <= limit.max_restarts

    def imposed(self, seconds: float) -> None:
        """Say how long the restart just recorded is made to wait."""
        when, before = self.entries.pop()
        self.entries.append((when, seconds))
        self.delays += seconds - before

    def clear(self) -> None:
        self.entries.clear()
        self.delays = 0.0

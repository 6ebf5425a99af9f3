"""Whether somebody has the store to himself: then his write need not wait for company. Pure; time is an argument."""

from __future__ import annotations

QUIET_S = 0.02
"""Only one has asked for so long: nobody is likely to wait while his write is synced."""
QUICK_S = 0.0015
"""Commits that take no longer, as a moving average, are quick: whoever comes in that very moment hardly notices."""
WEIGHT = 1 / 8
"""Of the last commit in the average. One that takes 50 ms counts as slow for about twelve quick ones."""


class Company:
    """Who has called lately. A caller is any object that is the same for each of his calls."""

    __slots__ = ("_last", "_since")

    def __init__(self) -> None:
        self._last: object = None
        self._since = 0.0

    def alone(self, caller: object, now: float) -> bool:
        """Note a call at `now` (seconds, monotonic); whether all calls of the last QUIET_S came from this caller."""
        if caller is not self._last:
            self._last = caller
            self._since = now
        return now - self._since > QUIET_S


class Pace:
    """How long commits take. `quick` is False until that is known."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds = 2 * QUICK_S

    def note(self, seconds: float) -> None:
        """A commit took so long."""
        self._seconds += (seconds - self._seconds) * WEIGHT

    @property
    def quick(self) -> bool:
        return self._seconds <= QUICK_S

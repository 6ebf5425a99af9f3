"""How long a restart waits: exponential, capped, with jitter, forgotten after a stable time. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """The waiting times of one child, in seconds: initial, initial·factor, initial·factor², … up to `max`.

    jitter: the share of each delay that chance may take off (0.1: between 90 % and 100 % of it), so that
        children that died together do not come back in one burst. Only downwards, so `max` is a promise.
    reset_after: a child that was ready for this long starts again at `initial` the next time it ends.
    """

    initial: float = 1.0
    factor: float = 2.0
    max: float = 30.0
    reset_after: float = 60.0
    jitter: float = 0.1

    def problems(self) -> list[tuple[str, str]]:
        """Every wrong field with what was found and what would be right."""
        found: list[tuple[str, str]] = []
        for name, low, high, allowed in (
            ("initial", 0.0, 86400.0, "0 to 86400 seconds"),
            ("factor", 1.0, 1000.0, "1 to 1000"),
            ("max", 0.0, 86400.0, "0 to 86400 seconds"),
            ("reset_after", 0.0, math.inf, "seconds from 0"),
            ("jitter", 0.0, 1.0, "0 to 1"),
        ):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not low <= value <= high:
                found.append((name, f"is {value!r}; allowed: {allowed}"))
        if not found and self.max < self.initial:
            found.append(("max", f"is {self.max!r}; allowed: at least initial, {self.initial:g}"))
        return found


NO_BACKOFF = Backoff(initial=0.0, max=0.0, jitter=0.0)
"""Restart at once, as OTP does."""


def delay(policy: Backoff, attempt: int, chance: float) -> float:
    """Seconds before restart number `attempt` (0 for the first since the child was last stable).

    chance: a number in [0, 1), from outside: this function is a function.
    """
    if policy.initial == 0.0:
        return 0.0
    try:
        full = min(policy.max, policy.initial * policy.factor**attempt)
    except OverflowError:
        full = policy.max
    return full * (1.0 - policy.jitter * chance)


def was_stable(policy: Backoff, ready_for: float | None) -> bool:
    """Whether a child that was ready for that many seconds (None: never ready) has earned a fresh start."""
    return ready_for is not None and ready_for >= policy.reset_after

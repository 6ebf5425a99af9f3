"""When the process that looks after the uplink runs (pure): at boot, then when its own record says so.

It ends by itself each time. One that does not is killed; one that crashes is started again later, for ever: the
machine works without an uplink, so nothing escalates.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

PATIENCE: Final = 60.0
"""Seconds that it may take: longer than its own bound."""
AFTER_CRASH: Final = 60.0
LATEST: Final = 7 * 24 * 3600.0


@dataclass(frozen=True, slots=True)
class Helper:
    """pid: 0 while it does not run. due: when to start it, or to kill it while it runs; None for never."""

    pid: int = 0
    due: float | None = None


def started(pid: int, now: float) -> Helper:
    return Helper(pid, now + PATIENCE)


def ended(code: int | None, record: bytes, now: float) -> Helper:
    """code: its exit status, None for a signal. record: what it left."""
    again = _again(record)
    if code == 0 or (code == 75 and again is not None):
        return Helper(0, None if again is None else now + again)
    if code == 2:  # it is told something that cannot work: only another boot tells it something else
        return Helper()
    return Helper(0, now + AFTER_CRASH)


def not_started(now: float) -> Helper:
    return Helper(0, now + AFTER_CRASH)


def _again(record: bytes) -> float | None:
    try:
        seconds = json.loads(record)["again_s"]
    except (ValueError, KeyError, TypeError):
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= LATEST:
        return None
    return float(seconds)

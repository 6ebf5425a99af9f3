"""Durations as people write them in configuration: "250ms", "5s", "2m", "1h", "1m30s"."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
ALLOWED = 'a duration such as "500ms", "5s", "2m" or "1h"'


def parse_duration(value: object) -> float:
    """Seconds.

    Raises:
        ValueError: it is not text, or not number-and-unit; the message says what was found and what is allowed.
    """
    if isinstance(value, str) and len(value) <= 32:
        parts = PART.findall(value)
        if parts and "".join(number + unit for number, unit in parts) == value:
            return sum(float(number) * UNITS[unit] for number, unit in parts)
    raise ValueError(f"is {value!r}; allowed: {ALLOWED}")

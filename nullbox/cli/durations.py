"""Lengths of time as people write and read them: `90`, `1m30s`, `2h`. Pure."""

from __future__ import annotations

import re

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")


def parse(text: str) -> float:
    """Seconds; a bare number is seconds.

    Raises:
        ValueError: with what would be right.
    """
    text = text.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    if not text or _PART.sub("", text):
        raise ValueError(f"{text!r} is no length of time; write 90, 30s, 5m, 1h30m or 2d")
    return sum(float(number) * UNITS[unit] for number, unit in _PART.findall(text))


def short(seconds: float | None) -> str:
    """The two largest units that matter: `3.2s`, `2m05s`, `4h10m`, `3d02h`; `-` for none."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f}s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02}h"

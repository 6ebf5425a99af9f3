"""Which denials belong in the journal: each thing that was denied once a minute, however often it is tried. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

QUIET = 60.0
"""Seconds in which the same denial is put on record once: an agent that tries on must not fill the journal."""
REMEMBERED = 1000

Denial = Mapping[str, Any]


class DenialFilter:
    """Remembers what was put on record lately. `after`: denials whose last time is not later were seen before."""

    def __init__(self, after: float = 0.0) -> None:
        self._after = after
        self._recorded: OrderedDict[tuple[Any, ...], float] = OrderedDict()

    def keep(self, denial: Denial) -> bool:
        """Whether to record this one; if so, it is remembered."""
        key = tuple(denial.get(name) for name in ("agent", "kind", "name", "address", "protocol", "port", "reason"))
        at = float(denial["last"])
        if at <= self._after:
            return False
        last = self._recorded.get(key)
        if last is not None and at - last < QUIET:
            return False
        self._recorded[key] = at
        self._recorded.move_to_end(key)
        while len(self._recorded) > REMEMBERED:
            self._recorded.popitem(last=False)
        return True


def detail(denial: Denial) -> dict[str, Any]:
    """What an event of the kind `denied` says; what the denial leaves empty is left out."""
    names = ("kind", "name", "address", "protocol", "port", "reason", "count")
    found = {name: denial[name] for name in names if denial.get(name)}
    if "kind" in found:
        found["what"] = found.pop("kind")
    return found

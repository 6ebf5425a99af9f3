"""What a benchmark found, held against what it must reach (pure).

A figure is one number or the numbers of several rounds; of rounds the median counts and the spread is shown. The
targets of an area are a table: name → (relation, bound, unit).
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Must = Mapping[str, tuple[str, float, str]]
"""Targets by the figure's name: `<=` or `>=`, the bound, and the unit of both ("" for a ratio)."""

Found = Mapping[str, float | Sequence[float]]
"""Figures by name: one number, or one of each round."""


@dataclass(frozen=True)
class Verdict:
    """One target: what was found (median, lowest, highest), what it must be, and whether it is. NaN: not measured."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    relation: str
    bound: float

    @property
    def met(self) -> bool:
        """A figure that was not measured is not met."""
        return self.median <= self.bound if self.relation == "<=" else self.median >= self.bound

    def line(self) -> str:
        """One line of text, for a terminal."""
        spread = f" ({self.low:.3g} to {self.high:.3g})" if self.low != self.high else ""
        return (
            f"{self.name:28} {self.median:12.3f} {self.unit:5} must be {self.relation} {self.bound:<9g}"
            f"{'met' if self.met else 'MISSED'}{spread}"
        )


def rounds(value: float | Sequence[float]) -> list[float]:
    """The numbers of a figure."""
    return [float(value)] if isinstance(value, int | float) else [float(number) for number in value]


def judge(must: Must, found: Found) -> list[Verdict]:
    """Every target of the table, in its order."""
    return [_verdict(name, target, found.get(name, [])) for name, target in must.items()]


def _verdict(name: str, target: tuple[str, float, str], value: float | Sequence[float]) -> Verdict:
    relation, bound, unit = target
    numbers = rounds(value) or [float("nan")]
    return Verdict(name, unit, statistics.median(numbers), min(numbers), max(numbers), relation, bound)


def document(must: Must, found: Found) -> dict[str, Any]:
    """The same as plain data for JSON, with the figures that have no target beside them."""
    others = {name: statistics.median(rounds(value)) for name, value in found.items() if name not in must}
    return {"targets": [asdict(verdict) | {"met": verdict.met} for verdict in judge(must, found)], "others": others}

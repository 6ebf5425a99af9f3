"""What a curve says of itself, and how the report shows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import scaling
from bench.scaling import Curve


def curve(*values: float, allowed: float = 1.5) -> Curve:
    return Curve("area", "one thing", "things", "µs", allowed, {10**n: value for n, value in enumerate(values)})


@pytest.mark.parametrize(
    ("values", "growth", "bends"),
    [((2.0, 2.0), 1.0, False), ((2.0, 9.0, 3.0), 1.5, False), ((2.0, 2.0, 4.0), 2.0, True)],
)
def test_a_curve_bends_when_its_largest_size_costs_more_than_allowed(
    values: tuple[float, ...], growth: float, bends: bool
) -> None:
    found = curve(*values)
    assert found.growth == growth
    assert found.bends is bends


def test_the_report_has_every_size_and_marks_what_bends() -> None:
    text = scaling.markdown([curve(1.0, 1.1), curve(1.0, 2.0)])
    assert "| 1 | 10 | growth | allowed | |" in text
    assert text.count("**bends**") == 1
    assert "scaling-area.svg" in text


@pytest.mark.slow  # needs the extra `bench`, which make test-full installs
def test_the_same_curve_is_drawn_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        scaling.chart("area", [curve(1.0, 1.1)], tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.slow
def test_every_area_at_its_smallest_sizes_is_measured_and_positive() -> None:
    for area in ("supervision", "dns"):
        for found in scaling.AREAS[area](True):
            assert len(found.points) >= 2
            assert all(value > 0 for value in found.points.values())

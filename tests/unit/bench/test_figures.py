"""The verdicts and the report of the benchmarks: what misses must be seen to miss."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench import report
from bench.command import finish
from bench.figures import document, judge

MUST = {"speed": (">=", 10.0, "/s"), "delay": ("<=", 2.0, "ms")}


def results(found: Any) -> dict[str, Any]:
    return {"machine": {"processor": "1 × test"}, "areas": {"area": document(MUST, found)}}


def test_the_median_of_the_rounds_counts() -> None:
    speed, delay = judge(MUST, {"speed": [1, 11, 12], "delay": [2.0, 2.5, 9.0]})
    assert (speed.median, speed.low, speed.high, speed.met) == (11, 1, 12, True)
    assert (delay.median, delay.met) == (2.5, False)
    assert "must be <= 2" in delay.line()
    assert "MISSED" in delay.line()


def test_a_figure_that_was_not_measured_is_missed() -> None:
    speed, _ = judge(MUST, {"delay": 1.0})
    assert math.isnan(speed.median)
    assert not speed.met
    assert "| `speed` | not measured |" in report.markdown(results({"delay": 1.0}))


@pytest.mark.parametrize(("found", "status"), [({"speed": 10, "delay": 2}, 0), ({"speed": 9.99, "delay": 2}, 1)])
def test_the_exit_status_tells(found: dict[str, float], status: int, tmp_path: Path) -> None:
    assert finish(MUST, found, tmp_path / "x.json") == status
    assert '"met"' in (tmp_path / "x.json").read_text()


@given(st.floats(0.01, 1e6), st.sampled_from(["<=", ">="]), st.floats(0.01, 1e6))
def test_more_than_the_whole_bound_is_used_exactly_by_what_misses(value: float, relation: str, bound: float) -> None:
    [verdict] = judge({"x": (relation, bound, "")}, {"x": value})
    [target] = document({"x": (relation, bound, "")}, {"x": value})["targets"]
    share = report.used(target, "median")
    assert verdict.met == (value <= bound if relation == "<=" else value >= bound)
    assert (share <= 1) == verdict.met or math.isclose(share, 1)


def test_the_report_shows_misses_and_what_has_no_target() -> None:
    text = report.markdown(results({"speed": 9, "delay": 1, "other": [1, 2, 3]}))
    assert "| `speed` | 9 /s | 9 /s | 9 /s | >= 10 /s | **missed** |" in text
    assert "| `other` | 2 |" in text


def test_the_report_leads_to_the_profile_of_what_misses() -> None:
    found = results({"speed": 9, "delay": 1})
    assert "profile" not in report.markdown(found)
    found["areas"]["area"]["profile"] = "profile-area.svg"
    assert "[where the time goes](profile-area.svg)" in report.markdown(found)

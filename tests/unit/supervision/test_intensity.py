from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.supervision.intensity import Intensity, Window

LIMIT = Intensity(max_restarts=2, period=10.0)


def test_one_more_than_max_restarts_is_too_many() -> None:
    window = Window()
    assert [window.add(now, LIMIT) for now in (0.0, 1.0, 2.0)] == [True, True, False]


def test_a_limit_of_none_forbids_the_first() -> None:
    assert not Window().add(0.0, Intensity(0, 10.0))


def test_a_restart_of_exactly_one_period_ago_counts_as_in_otp() -> None:
    window = Window()
    assert [window.add(now, LIMIT) for now in (0.0, 1.0, 10.0)] == [True, True, False]
    window = Window()
    assert [window.add(now, LIMIT) for now in (0.0, 1.0, 10.001)] == [True, True, True]


def test_waiting_in_backoff_does_not_age_the_window() -> None:
    """A child that dies at once for ever meets its limit however long its backoff makes it wait."""
    window, now = Window(), 0.0
    for wait in (1.0, 2.0):
        assert window.add(now, LIMIT)
        window.imposed(wait * 1000)
        now += wait * 1000
    assert not window.add(now, LIMIT)


def test_time_that_it_worked_does_age_the_window() -> None:
    window, now = Window(), 0.0
    for _ in range(20):
        assert window.add(now, LIMIT)
        window.imposed(30.0)
        now += 30.0 + 5.01  # works 5.01 s each time: two restarts in ten seconds at most


def test_counting_changes_nothing() -> None:
    window = Window()
    window.add(0.0, LIMIT)
    assert [window.count(now, 10.0) for now in (0.0, 10.0, 11.0, 10.0)] == [1, 1, 0, 1]


def test_clear_forgets_all() -> None:
    window = Window()
    window.add(0.0, LIMIT)
    window.imposed(5.0)
    window.clear()
    assert window == Window()


@given(
    gaps=st.lists(st.floats(0.0, 20.0), max_size=40),
    limit=st.integers(0, 5),
    period=st.floats(0.1, 30.0),
)
def test_without_backoff_it_is_otp_s_definition(gaps: list[float], limit: int, period: float) -> None:
    """`supervisor.erl` keeps [Now | Restarts], drops what is older than Now - Period, and compares the length."""
    window, restarts, now = Window(), [], 0.0
    for gap in gaps:
        now += gap
        restarts = [when for when in [*restarts, now] if now - when <= period]
        within = window.add(now, Intensity(limit, period))
        assert within == (len(restarts) <= limit)
        assert window.count(now, period) == len(restarts)


@pytest.mark.parametrize(
    ("limit", "field"),
    [
        (Intensity(-1), "max_restarts"),
        (Intensity(1.5), "max_restarts"),  # type: ignore[arg-type]
        (Intensity(True), "max_restarts"),
        (Intensity(1, 0), "period"),
        (Intensity(1, float("inf")), "period"),
    ],
)
def test_a_wrong_value_is_named(limit: Intensity, field: str) -> None:
    [(name, text)] = limit.problems()
    assert name == field and "allowed: " in text

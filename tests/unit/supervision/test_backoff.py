from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.supervision.backoff import NO_BACKOFF, Backoff, delay, was_stable

DEFAULT = Backoff(jitter=0.0)


def test_it_doubles_from_one_second_to_thirty() -> None:
    assert [delay(DEFAULT, attempt, 0.5) for attempt in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_chance_only_takes_off_and_at_most_the_jitter() -> None:
    policy = Backoff(jitter=0.1)
    assert delay(policy, 0, 0.0) == 1.0
    assert delay(policy, 0, 0.999) == pytest.approx(0.9, abs=0.001)


def test_no_backoff_is_no_delay() -> None:
    assert NO_BACKOFF.problems() == []
    assert delay(NO_BACKOFF, 10**6, 0.7) == 0.0


@given(
    initial=st.floats(0.0, 100.0),
    factor=st.floats(1.0, 1000.0),
    extra=st.floats(0.0, 1000.0),
    jitter=st.floats(0.0, 1.0),
    attempt=st.integers(0, 10**9),
    chance=st.floats(0.0, 1.0, exclude_max=True),
)
def test_it_is_finite_bounded_and_never_shrinks(
    initial: float, factor: float, extra: float, jitter: float, attempt: int, chance: float
) -> None:
    policy = Backoff(initial, factor, initial + extra, 60.0, jitter)
    assert policy.problems() == []
    seconds = delay(policy, attempt, chance)
    assert 0.0 <= seconds <= policy.max
    assert seconds <= delay(policy, attempt + 1, chance)


@pytest.mark.parametrize(
    ("policy", "field"),
    [
        (Backoff(initial=-1), "initial"),
        (Backoff(initial=math.nan), "initial"),
        (Backoff(factor=0.5), "factor"),
        (Backoff(max=math.inf), "max"),
        (Backoff(initial=5.0, max=1.0), "max"),
        (Backoff(reset_after=-1), "reset_after"),
        (Backoff(jitter=1.1), "jitter"),
        (Backoff(jitter="x"), "jitter"),  # type: ignore[arg-type]
    ],
)
def test_a_wrong_value_is_named(policy: Backoff, field: str) -> None:
    [(name, text)] = policy.problems()
    assert name == field and "allowed: " in text


def test_stable_means_ready_for_the_whole_time() -> None:
    assert not was_stable(DEFAULT, None)
    assert not was_stable(DEFAULT, 59.9)
    assert was_stable(DEFAULT, 60.0)

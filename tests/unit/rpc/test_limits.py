"""The token bucket never gives more than its rate and burst allow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nullbox.rpc.limits import TokenBucket


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(1, 5)), max_size=60))
def test_never_more_than_rate_and_burst(steps: list[tuple[float, int]]) -> None:
    bucket, now, given_out = TokenBucket(2.0, 10.0, 0.0), 0.0, 0
    for pause, count in steps:
        now += pause
        given_out += count if bucket.take(now, count) else 0
        assert given_out <= 10.0 + 2.0 * now + 1e-6


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(1.0, 1.0, 100.0)
    assert bucket.take(100.0)
    assert not bucket.take(50.0)
    assert bucket.take(101.0)

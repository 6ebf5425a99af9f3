"""Quotas state what was exceeded; the rate is a token bucket."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.ctxgraph.quota import Limits, TokenBucket, Usage, charge, check
from nullbox.protocols.errors import ErrorCode, NullBoxError


def test_the_error_names_the_quota_and_its_limit() -> None:
    limits = Limits(entries=2, size=1000)
    check("a", Usage(2, 1000), limits)
    with pytest.raises(NullBoxError, match=r"3 entries .* quota is 2 entries") as raised:
        check("a", Usage(3, 0), limits)
    assert raised.value.code is ErrorCode.DENIED
    assert raised.value.data == {"quota": "entries", "limit": 2, "found": 3}
    with pytest.raises(NullBoxError, match="quota is 1000 bytes"):
        check("a", Usage(1, 1001), limits)


def test_a_repeated_object_costs_no_value_again() -> None:
    assert charge("a", "k", b"12345") == charge("a", "k", None) + 5


@given(st.lists(st.floats(0, 0.5), max_size=100))
def test_never_more_than_burst_and_rate_allow(steps: list[float]) -> None:
    bucket, now, taken = TokenBucket(10.0, 5, 0.0), 0.0, 0
    for step in steps:
        now += step
        try:
            bucket.take("a", now)
        except NullBoxError as error:
            assert 0 < error.data["retry_after_s"] <= 0.1
        else:
            taken += 1
        assert taken <= 5 + now * 10.0 + 1e-6


def test_a_token_is_there_when_the_error_said_so() -> None:
    bucket = TokenBucket(4.0, 1, 0.0)
    bucket.take("a", 0.0)
    with pytest.raises(NullBoxError) as raised:
        bucket.take("a", 0.1)
    bucket.take("a", 0.1 + raised.value.data["retry_after_s"] + 1e-4)
    with pytest.raises(NullBoxError):
        bucket.take("a", 0.0)  # a clock that goes back gives nothing

"""When the process of the uplink runs again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.bootstrap import helper
from nullbox.bootstrap.helper import AFTER_CRASH, LATEST, PATIENCE, Helper


def left(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_it_runs_again_when_its_record_says_so() -> None:
    assert helper.ended(0, left(again_s=1800), 100.0) == Helper(0, 1900.0)
    assert helper.ended(75, left(again_s=5), 100.0) == Helper(0, 105.0)


def test_a_static_address_needs_nobody() -> None:
    assert helper.ended(0, left(again_s=None), 100.0) == Helper(0, None)


def test_what_cannot_work_is_not_tried_again() -> None:
    assert helper.ended(2, left(again_s=5), 100.0) == Helper(0, None)


@pytest.mark.parametrize("code", [None, 1, 137, 75])
def test_a_crash_is_followed_by_another_start(code: int | None) -> None:
    assert helper.ended(code, b"", 100.0) == Helper(0, 100.0 + AFTER_CRASH)


def test_one_that_hangs_is_killed() -> None:
    assert helper.started(7, 100.0) == Helper(7, 100.0 + PATIENCE)


@given(st.one_of(st.none(), st.integers(0, 255)), st.binary() | st.builds(left, again_s=st.floats() | st.integers()))
def test_whatever_it_leaves_the_next_start_is_bounded(code: int | None, record: bytes) -> None:
    after = helper.ended(code, record, 0.0)
    assert after.pid == 0
    assert after.due is None or 0 < after.due <= LATEST

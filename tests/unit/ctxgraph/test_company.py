"""When a write is committed without waiting for others: one caller only, and a disk that is quick."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nullbox.ctxgraph.company import QUICK_S, QUIET_S, Company, Pace

STEP = QUIET_S / 4


def test_who_calls_first_is_not_alone_yet() -> None:
    assert not Company().alone("a", 0.0)


def test_one_caller_is_alone_after_a_while_until_another_one_calls() -> None:
    company = Company()
    company.alone("a", 0.0)
    assert company.alone("a", 1.0)
    assert company.alone("a", 1.0 + STEP)
    assert not company.alone("b", 1.0 + 2 * STEP)
    assert not company.alone("a", 1.0 + 3 * STEP), "b may be waiting"
    assert company.alone("a", 2.0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 2 * QUIET_S)), max_size=30))
def test_nobody_is_alone_within_the_quiet_time_of_another_ones_call(calls: list[tuple[str, float]]) -> None:
    company = Company()
    now, last = 0.0, {"a": -1.0, "b": -1.0}
    for caller, pause in calls:
        now += pause
        other = last["b" if caller == "a" else "a"]
        if company.alone(caller, now):
            assert now - other > QUIET_S
        last[caller] = now


def test_a_disk_is_slow_until_it_has_shown_otherwise() -> None:
    pace = Pace()
    assert not pace.quick
    for _ in range(20):
        pace.note(QUICK_S / 3)
    assert pace.quick


def test_one_long_commit_is_remembered_for_some_quick_ones() -> None:
    pace = Pace()
    for _ in range(50):
        pace.note(QUICK_S / 3)
    pace.note(0.05)
    slow = 0
    while not pace.quick:
        pace.note(QUICK_S / 3)
        slow += 1
    assert 10 <= slow <= 25


def test_a_disk_that_is_always_slow_is_never_quick() -> None:
    pace = Pace()
    for _ in range(100):
        pace.note(2 * QUICK_S)
        assert not pace.quick

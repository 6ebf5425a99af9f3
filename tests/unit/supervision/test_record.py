from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.protocols.errors import NullBoxError
from nullbox.supervision.record import EventLog


@given(count=st.integers(0, 30), since=st.integers(0, 40), limit=st.integers(0, 12))
def test_it_gives_what_is_newer_in_order_and_counts_what_is_lost(count: int, since: int, limit: int) -> None:
    log = EventLog(capacity=10)
    for number in range(1, count + 1):
        log.add(float(number), "state", "nulld/a", "a", {"number": number})
    answer = log.since(since, limit)
    kept = [n for n in range(1, count + 1) if n > count - 10]
    wanted = [n for n in kept if n > since][:limit]
    assert [event["seq"] for event in answer["events"]] == wanted
    assert [event["number"] for event in answer["events"]] == wanted
    assert answer["last_seq"] == count
    assert answer["lost"] == len([n for n in range(1, count + 1) if n > since and n not in kept])


def test_an_event_s_own_fields_cannot_be_overwritten_by_its_detail() -> None:
    event = EventLog().add(1.0, "exit", "nulld/a", "a", {"kind": "crash", "seq": 99})
    assert (event["kind"], event["seq"]) == ("exit", 1)


@pytest.mark.parametrize("params", [{"since": -1}, {"since": "1"}, {"limit": True}, {"limit": 1.5}])
def test_wrong_parameters_are_named(params: dict[str, object]) -> None:
    [name] = params
    with pytest.raises(NullBoxError, match=rf"{name} is .*; allowed: a whole number from 0"):
        EventLog().query(params)

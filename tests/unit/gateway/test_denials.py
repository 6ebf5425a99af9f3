"""Denials in the journal: each once a minute, none twice after a restart, none of them able to flood it."""

from __future__ import annotations

from typing import Any

from nullbox.gateway.collector import record_denials
from nullbox.gateway.denials import QUIET, REMEMBERED, DenialFilter
from nullbox.gateway.journal import Journal


def denial(last: float, **changes: Any) -> dict[str, Any]:
    return {
        "agent": "pulse",
        "kind": "unlisted name",
        "name": "evil.example",
        "address": "",
        "protocol": "",
        "port": 0,
        "reason": "no line allows it",
        "count": 1,
        "first": last,
        "last": last,
        "seq": 1,
        **changes,
    }


def kinds(journal: Journal) -> list[tuple[str, float]]:
    return [(event["kind"], event["ts"]) for event in journal.since(0)["events"]]


def test_the_same_place_denied_for_another_reason_is_another_denial() -> None:
    journal, chosen = Journal(None), DenialFilter()
    record_denials(journal, [denial(1000.0), denial(1001.0, reason="the budget is used up")], chosen)
    assert len(kinds(journal)) == 2


def test_the_same_denial_is_recorded_once_a_minute() -> None:
    journal, chosen = Journal(None), DenialFilter()
    for second in range(0, 200, 2):
        record_denials(journal, [denial(1000.0 + second, count=second)], chosen)
    assert kinds(journal) == [("denied", 1000.0 + second) for second in (0, 60, 120, 180)]
    event = journal.since(0)["events"][1]
    assert event["child"] == "cage:pulse"
    assert event["what"] == "unlisted name"
    assert event["count"] == 60
    assert "address" not in event


def test_others_are_recorded_beside_it() -> None:
    journal, chosen = Journal(None), DenialFilter()
    record_denials(journal, [denial(1000.0), denial(1001.0, agent="reader"), denial(1002.0, name="b.example")], chosen)
    assert len(kinds(journal)) == 3


def test_what_was_on_record_before_a_restart_is_not_recorded_again() -> None:
    journal, chosen = Journal(None), DenialFilter(after=1000.0)
    record_denials(journal, [denial(999.0), denial(1000.0), denial(1000.5)], chosen)
    assert kinds(journal) == [("denied", 1000.5)]


def test_memory_is_bounded() -> None:
    chosen = DenialFilter()
    for number in range(5 * REMEMBERED):
        assert chosen.keep(denial(1000.0 + number * QUIET, name=f"n{number}.example"))
    assert len(chosen._recorded) == REMEMBERED

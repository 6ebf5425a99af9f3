"""How a VM's end is told: every combination of what can be known about it."""

from __future__ import annotations

import pytest

from nullbox.cage.endings import reason
from nullbox.protocols.exits import ExitRecord

ZERO = ExitRecord(7, 1, 0, None)
THREE = ExitRecord(7, 1, 3, None)
KILLED = ExitRecord(7, 1, None, 9)


def kind(record: ExitRecord | None, *, asked: str = "", failure: str | None = None, late: bool = False) -> str:
    return reason(record, asked=asked, failure=failure, late=late, heard=True).kind


def test_an_agent_that_is_done_ended_normally_and_one_that_failed_says_its_code() -> None:
    assert kind(ZERO) == "normal"
    failed = reason(THREE, asked="", failure=None, late=False, heard=True)
    assert (failed.kind, failed.code, failed.detail) == ("failed", 3, "the agent exited with 3")


def test_a_guest_that_was_never_heard_of_did_not_end_normally_whatever_its_vmm_says() -> None:
    crashed = reason(ZERO, asked="", failure=None, late=False, heard=False)
    assert crashed.kind == "failed"
    assert "before its agent was heard of" in crashed.detail


@pytest.mark.parametrize("record", [ZERO, THREE, KILLED, None])
def test_an_end_that_was_asked_for_is_orderly_whatever_the_code(record: ExitRecord | None) -> None:
    assert kind(record, asked="user") == "shutdown"


def test_no_vm_a_late_guest_a_signal_and_an_unknown_end_are_failures_that_say_why() -> None:
    for given, words in (
        ({"record": ExitRecord(7, 1, 124, None), "failure": "refused", "heard": False}, "no VM: refused"),
        # Whoever has taken over a VMM can write there, too: once a guest was heard of, there was a VM.
        ({"record": ExitRecord(7, 1, 3, None), "failure": "no such thing"}, "exited with 3"),
        ({"record": KILLED, "late": True}, "did not come up in time"),
        ({"record": KILLED}, "killed by SIGKILL"),
        ({"record": None}, "not known"),
    ):
        told = reason(**{"asked": "", "failure": None, "late": False, "heard": True, **given})  # type: ignore[arg-type]
        assert told.kind == "failed"
        assert words in told.detail

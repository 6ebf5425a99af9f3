"""The sample agent that tries to get out: its judgement, and what it tries at ctxgraph.

Whether the VM and the firewall hold is for the boot tests to say; nothing here touches the network.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from nullbox.guest.nullbox_agent import Ctx

Load = Callable[[str], ModuleType]

AT_CTXGRAPH = (
    "write under another's name",
    "write outside the own prefixes",
    "delete another's key",
    "read another's key",
    "watch another's keys",
    "query for everything",
    "export the log",
    "list the agents",
    "send nonsense, and too much",
)


@pytest.fixture
def hostile(agent: Load) -> ModuleType:
    return agent("hostile")


@pytest.mark.parametrize("what", AT_CTXGRAPH)
def test_ctxgraph_denies_it(hostile: ModuleType, operator: Ctx, what: str) -> None:
    operator.write("pulse.counter", {"n": 1})
    operator.write("hostile.own", 1)
    found = hostile.outcome(dict(hostile.ATTEMPTS)[what])
    assert found["denied"], found
    latest = operator.latest("pulse.counter")
    assert latest is not None
    assert latest["value"] == {"n": 1}


def test_a_ping_that_is_refused_is_no_answer(hostile: ModuleType) -> None:
    head = bytes.fromhex("45c00038f53b0000400170030a5a00090a5a000a")
    with pytest.raises(hostile.Denied):
        hostile.echoed(head + bytes.fromhex("030dfcf200000000"))
    assert hostile.echoed(head + bytes.fromhex("0000fffe00000001"))


def test_every_attempt_has_a_name_of_its_own(hostile: ModuleType) -> None:
    names = [what for what, _ in hostile.ATTEMPTS]
    assert len(names) == len(set(names)) > 20


def test_what_is_not_denied_is_reported_and_fails_the_agent(
    hostile: ModuleType, operator: Ctx, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused() -> str:
        raise PermissionError("no")

    monkeypatch.setattr(hostile, "ATTEMPTS", (("a wall", refused), ("a hole", lambda: "through")))
    assert hostile.main() == 1
    report = operator.latest("hostile.report")
    assert report is not None
    assert report["value"]["not_denied"] == ["a hole"]
    assert report["value"]["attempts"] == {
        "a wall": {"denied": True, "how": "PermissionError: no"},
        "a hole": {"denied": False, "how": "through"},
    }
    monkeypatch.setattr(hostile, "ATTEMPTS", (("a wall", refused),))
    assert hostile.main() == 0

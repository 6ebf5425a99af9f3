"""What the console says, and what it leaves out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.gateway.console import LONGEST, Console, addresses, event_line, plain, summary, worth_showing
from nullbox.gateway.memory import MemoryBackend


def event(kind: str, **detail: Any) -> dict[str, Any]:
    return {"seq": 1, "ts": 0.0, "kind": kind, "child": "cage:pulse", "path": "nulld/cage:pulse", **detail}


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        (True, event("exit", reason="failed", code=3, intent=None)),
        (False, event("exit", reason="shutdown", intent="stop")),
        (True, event("crash", error="KeyError")),
        (True, event("denied", what="unlisted name", name="evil.example")),
        (True, event("command", method="agent.stop")),
        (True, event("state", to="failed")),
        (False, event("state", to="running")),
        (False, event("boot")),
    ],
)
def test_what_went_wrong_and_what_was_changed_is_shown(shown: bool, found: dict[str, Any]) -> None:
    assert worth_showing(found) is shown


def test_an_event_is_one_line() -> None:
    found = event("exit", reason="failed", code=3, detail="agent\nexited", traceback="long", intent=None)
    assert event_line(found) == "exit cage:pulse: reason=failed code=3 detail=agent?exited"


def test_the_summary_says_health_address_services_and_agents() -> None:
    backend = MemoryBackend()
    assert summary(backend.nodes, "0.1.0", {"eth0": "10.0.2.15"}) == [
        "NullBox 0.1.0 is healthy; eth0 10.0.2.15",
        "services: all run; agents: pulse running, reader running",
    ]
    backend.set("egress", state="backoff")
    assert summary(backend.nodes, "0.1.0", {}) == [
        "NullBox 0.1.0 is not healthy yet; no address",
        "services: egress backoff; agents: pulse running, reader running",
    ]
    assert summary(MemoryBackend([]).nodes, "0.1.0", {})[1].endswith("agents: none")


@given(st.text())
def test_no_text_can_command_the_console(text: str) -> None:
    shown = plain(text)
    assert all(" " <= char <= "~" for char in shown)
    assert len(shown) <= LONGEST


def test_a_console_that_is_absent_or_full_stops_nobody(tmp_path: Path) -> None:
    for path in (tmp_path / "none", Path("/dev/full")):
        console = Console(path)
        console.write(["text"])
        console.close()


def test_lines_are_written(tmp_path: Path) -> None:
    path = tmp_path / "console"
    path.touch()
    console = Console(path)
    console.write(["one", "two"])
    console.close()
    assert path.read_text() == "nullbox | one\nnullbox | two\n"


def test_addresses_leave_out_loopback() -> None:
    assert "lo" not in addresses()

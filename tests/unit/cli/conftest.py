"""nullctl in the calling process, against a real gateway over a tree in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import pytest
from gateway_system import System, running

from nullbox.cli import nullctl
from nullbox.client import Nulld


@pytest.fixture(scope="module")
def shared() -> Iterator[System]:
    with running() as system:
        system.layout.agent_log("pulse").parent.mkdir(parents=True, exist_ok=True)
        system.layout.agent_log("pulse").write_text(
            "2026-11-24T17:00:00.000Z hello\n2026-11-24T17:00:01.000Z \\x1b[2J and\ttab\n"
        )
        system.backend.record("started", "cage:pulse", incarnation=1)
        system.backend.record("exit", "cage:reader", reason="failed", code=3, traceback="long\nlong")
        with Nulld(system.socket) as nulld:
            collected = nulld.events_follow()
            while next(collected)["kind"] != "exit":
                pass
            system.backend.denials.append(
                {
                    "agent": "pulse",
                    "kind": "unlisted name",
                    "name": "evil.example",
                    "address": "",
                    "protocol": "",
                    "port": 0,
                    "reason": "no line allows it",
                    "count": 3,
                    "first": 1000.0,
                    "last": 1002.0,
                    "seq": 3,
                }
            )
            while next(collected)["kind"] != "denied":
                pass
        yield system


@pytest.fixture
def system() -> Iterator[System]:
    with running() as system:
        yield system


class Result:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def go(system: System, *args: str) -> Result:
        code = nullctl.run(["--socket", system.socket, *args])
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return go


@pytest.fixture(scope="session")
def verbs() -> set[str]:
    """Every verb of nullctl: `status`, `agent list` …"""
    return set(walk(nullctl.cli))


def walk(group: click.Group, path: str = "") -> Iterator[str]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        assert command.help, f"{path}{name} has no help"
        if isinstance(command, click.Group):
            yield from walk(command, f"{path}{name} ")
        else:
            yield f"{path}{name}"

"""One hostile agent that attacks from inside its VM, and what came of each attack (tests/boot/agents/raider).

The right-hand side says what must happen; docs/design/jail.md says what stops each one.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from operator_view import Machine, until

EXPECTED = {
    "path traversal": "nothing",
    "symbolic links": "nothing",
    "hard links": "EXDEV",
    "rename race": "nothing",
    "magic names": "ENAMETOOLONG",
    "device nodes": "nothing",
    "fifo": "server answers",
    "setuid file": "nosuid",
    "change of owner": "EPERM",
    "write to the root": "EROFS",
    "write to the agent's folder": "EROFS",
    "write to a read-only grant": "EROFS",
    "write after a remount": "EROFS",
    "write after a second mount of the grant": "EROFS",
    "write after a second mount of the root": "EROFS",
    "other tags": "nothing",
    "other agents' folders": "only its own",
    "filling the grant": "ENOSPC before 33 MiB",
    "host's devices": "nothing",
    "host's sockets": "nothing",
    "vsock ports": "9100",
    "vsock neighbours": "none",
    "malformed flood": "answered",
    "another agent's keys": "denied",
    "log flood": "lived",
    "fork bomb": "lived",
    "memory bomb": "ended inside",
}


@pytest.fixture(scope="module")
def attacked(machine: Machine) -> Iterator[dict[str, str]]:
    """The verdicts of the hostile agent, which ran with `pulse` beside it, and pulse's incarnation before."""
    with machine.paused("reader"):
        before = str(machine.node("cage:pulse")["incarnation"])
        machine.ok("agent", "start", "raider")
        found = until(
            lambda: machine.json("ctx", "query", "raider.verdicts")["entries"], seconds=400, what="raider's verdicts"
        )
        yield {**found[-1]["value"], "pulse before": before}


def test_every_attack_is_judged(attacked: dict[str, str]) -> None:
    assert attacked.keys() - {"pulse before"} == EXPECTED.keys()


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_attack(attacked: dict[str, str], name: str) -> None:
    assert attacked[name] == EXPECTED[name]


def test_the_others_went_on(machine: Machine, attacked: dict[str, str]) -> None:
    assert machine.agent_state("pulse") == "running"
    assert str(machine.node("cage:pulse")["incarnation"]) == attacked["pulse before"]
    assert machine.json("status")["healthy"] is True
    last = machine.json("ctx", "query", "pulse.")["entries"][-1]["seq"]
    until(
        lambda: machine.json("ctx", "query", "pulse.")["entries"][-1]["seq"] > last, seconds=60, what="a beat of pulse"
    )


@pytest.mark.usefixtures("attacked")
def test_what_the_operator_reads_is_harmless(machine: Machine) -> None:
    shown = machine.ok("agent", "logs", "raider")
    assert "path traversal: nothing" in shown
    assert "\x1b" not in shown
    assert "\\x1b]0;owned\\x07" in shown


@pytest.mark.usefixtures("attacked")
def test_the_hostile_agent_ended_as_any_other(machine: Machine) -> None:
    machine.until_state("raider", "stopped")
    last: dict[str, Any] = machine.node("cage:raider")["last_exit"]
    assert (last["kind"], last["code"]) == ("normal", 0)
    kinds = [json.loads(line)["kind"] for line in machine.ok("-o", "json", "events").splitlines()]
    assert "crash" not in kinds


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.usefixtures("still")
def test_of_all_vsock_ports_one_answers(machine: Machine, tmp_path: Path) -> None:
    """65,535 connections, which took an emulated guest 432 s; every run tries a sample of them."""
    folder = tmp_path / "sweeper"
    shutil.copytree(Path(__file__).parent / "agents" / "raider", folder)
    manifest = (folder / "AGENT.toml").read_text().replace("raider", "sweeper")
    (folder / "AGENT.toml").write_text(manifest.replace("[agent]", '[agent]\nentrypoint = ["main.py", "sweep"]'))
    machine.ok("agent", "deploy", str(folder))
    machine.ok("agent", "start", "sweeper")
    found = until(
        lambda: machine.json("ctx", "query", "sweeper.verdicts")["entries"], seconds=900, what="the sweep", every=2.0
    )
    print(machine.ok("agent", "logs", "sweeper"))
    assert found[-1]["value"] == {"every vsock port": "9100"}
    machine.ok("agent", "remove", "sweeper")

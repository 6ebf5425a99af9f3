"""Agents in their VMs: pause, resume, restart, crash, end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from operator_view import Machine, until


def beats(machine: Machine) -> list[dict[str, Any]]:
    return list(machine.json("ctx", "query", "pulse.")["entries"])


def newest(machine: Machine) -> dict[str, Any]:
    return until(lambda: (beats(machine) or [None])[-1], seconds=120, what="a beat of pulse")


def wait_for_more(machine: Machine, than: int, seconds: float = 60) -> dict[str, Any]:
    return until(
        lambda: next((e for e in reversed(beats(machine)) if e["seq"] > than), None),
        seconds=seconds,
        what=f"an entry after {than}",
    )


def test_pulse_writes_by_the_second(machine: Machine) -> None:
    first = newest(machine)
    later = wait_for_more(machine, first["seq"] + 2)
    per_second = (later["value"]["n"] - first["value"]["n"]) / ((later["ts_ns"] - first["ts_ns"]) / 1e9)
    assert 0.3 < per_second < 1.5


def test_reader_reads_what_pulse_wrote(machine: Machine) -> None:
    summary = until(
        lambda: machine.json("ctx", "query", "reader.")["entries"],
        seconds=120,
        what="a summary of reader",
    )[-1]
    assert summary["agent_id"] == "reader"
    assert summary["value"]["beats"] >= 5


def test_an_entry_is_read_by_its_hash_and_history_has_all_writes_of_a_key(machine: Machine) -> None:
    entry = newest(machine)
    assert machine.json("ctx", "read", entry["hash"])["value"] == entry["value"]
    history = machine.json("ctx", "history", "pulse.counter")["entries"]
    assert [e["seq"] for e in history] == sorted(e["seq"] for e in history)
    assert {e["agent_id"] for e in history} == {"pulse"}


def test_a_paused_agent_writes_nothing_and_goes_on_where_it_was(machine: Machine) -> None:
    before = newest(machine)
    machine.ok("agent", "pause", "pulse")
    assert machine.agent_state("pulse") == "paused"
    frozen_at = newest(machine)["seq"]
    # Five seconds of the guest's world, told by somebody who goes on: nothing else here measures time.
    clock = machine.json("status")["uptime_s"]
    until(lambda: machine.json("status")["uptime_s"] > clock + 5, seconds=60, what="five seconds to pass")
    assert newest(machine)["seq"] == frozen_at
    machine.ok("agent", "resume", "pulse")
    assert machine.agent_state("pulse") == "running"
    after = wait_for_more(machine, frozen_at)
    assert after["value"]["boot_id"] == before["value"]["boot_id"]
    assert after["value"]["n"] == newest_before(machine, after)["value"]["n"] + 1


def newest_before(machine: Machine, entry: dict[str, Any]) -> dict[str, Any]:
    return [e for e in beats(machine) if e["seq"] < entry["seq"]][-1]


def test_a_restarted_agent_boots_another_machine(machine: Machine) -> None:
    before = newest(machine)
    with machine.paused("reader"):
        machine.ok("agent", "restart", "pulse")
        after = until(
            lambda: next((e for e in beats(machine) if e["value"]["boot_id"] != before["value"]["boot_id"]), None),
            seconds=120,
            what="a beat of the new VM",
        )
    assert after["value"]["n"] > before["value"]["n"]


def test_the_guests_kernel_is_not_the_machines(machine: Machine) -> None:
    machine.until_state("pulse", "running")
    shown = machine.json("agent", "inspect", "pulse")
    guest = shown["vm"]["guest"]["kernel"]
    assert guest
    assert guest != machine.json("status")["kernel"]


def test_stop_and_start(machine: Machine) -> None:
    with machine.paused("pulse"):
        machine.ok("agent", "stop", "reader")
        assert machine.agent_state("reader") == "stopped"
        assert machine.node("cage:reader")["last_exit"]["kind"] == "shutdown"
        assert "reader" not in {link["agent"] for link in machine.json("egress", "rules")["links"]}
        machine.ok("agent", "start", "reader")
        machine.until_state("reader", "running")


@pytest.mark.usefixtures("still")
def test_an_agent_that_fails_is_restarted_with_growing_delays(machine: Machine) -> None:
    machine.ok("agent", "start", "crasher")
    until(
        lambda: machine.node("cage:crasher")["incarnation"] >= 3, seconds=300, what="the third incarnation of crasher"
    )
    assert machine.node("cage:crasher")["last_exit"]["code"] == 3
    found = [json.loads(line) for line in machine.ok("-o", "json", "events").splitlines()]
    restarts = [e for e in found if e["kind"] == "exit" and e["child"] == "cage:crasher"]
    assert restarts
    assert all(e["code"] == 3 for e in restarts)
    starts = [e["ts"] for e in found if e["kind"] == "state" and e["child"] == "cage:crasher" and e["to"] == "starting"]
    ends = [e["ts"] for e in restarts]
    waits = [start - end for start, end in zip(starts[1:], ends, strict=False)]
    assert len(waits) >= 2
    assert waits[1] > waits[0] * 1.5, waits
    machine.ok("agent", "stop", "crasher")
    assert machine.agent_state("crasher") == "stopped"


@pytest.mark.usefixtures("still")
def test_an_agent_whose_health_check_fails_is_restarted(machine: Machine) -> None:
    machine.ok("agent", "start", "frail")
    until(lambda: machine.node("cage:frail")["incarnation"] >= 2, seconds=200, what="another frail", every=1.0)
    machine.ok("agent", "stop", "frail")
    [end, *_] = [e for e in machine.json_lines("events") if e["kind"] == "exit" and e["child"] == "cage:frail"]
    assert (end["reason"], end["code"]) == ("failed", 124)
    said = machine.ok("agent", "logs", "frail")
    assert "frail: /well: 200 OK" in said
    assert "the agent is not healthy and is ended: GET http://127.0.0.1:8080/well failed 2 times in a row" in said
    assert "last: status 503" in said


@pytest.mark.usefixtures("still")
def test_an_agent_that_is_done_is_not_restarted(machine: Machine) -> None:
    machine.ok("agent", "start", "oneshot")
    until(lambda: machine.agent_state("oneshot") != "stopped", seconds=60, what="oneshot to start")
    machine.until_state("oneshot", "stopped", seconds=300)
    node = machine.node("cage:oneshot")
    assert node["last_exit"]["kind"] == "normal"
    assert node["last_exit"]["code"] == 0
    assert node["restarts_total"] == 0


def test_what_an_agent_says_is_in_its_log(machine: Machine) -> None:
    assert "oneshot: done" in machine.ok("agent", "logs", "oneshot")
    assert "pulse begins at" in machine.ok("agent", "logs", "pulse")

"""The whole system, end to end: our kernel, our image, real microVMs, seen through nullctl."""

from __future__ import annotations

import os
import re

from operator_view import Machine, until


def test_it_says_which_acceleration_it_chose_and_why(machine: Machine) -> None:
    assert re.search(r"KVM|emulation", machine.acceleration)
    assert ":" in machine.acceleration or "because" in machine.acceleration


def test_status_shows_three_services_and_the_sample_agents_running(machine: Machine) -> None:
    def all_running() -> dict[str, object] | None:
        status = machine.json("status")
        states = {each["name"]: each["state"] for each in status["agents"]}
        return status if states.get("pulse") == states.get("reader") == "running" else None

    status = until(all_running, seconds=120, what="both sample agents running")
    assert {s["name"]: s["state"] for s in status["services"]} == {
        "egress": "running",
        "ctxgraph": "running",
        "gateway": "running",
    }
    assert status["healthy"] is True
    table = machine.ok("status")
    for word in ("egress", "ctxgraph", "gateway", "pulse", "reader"):
        assert word in table


def test_the_tree_has_one_root_and_a_process_for_every_running_child(machine: Machine) -> None:
    nodes = machine.json("tree")
    assert [n["id"] for n in nodes if n["parent"] is None] == ["nulld"]
    assert {"egress", "ctxgraph", "gateway", "cage:pulse", "cage:reader"} <= {n["id"] for n in nodes}
    pids = [n["pid"] for n in nodes if n["state"] == "running"]
    assert len(set(pids)) == len(pids)
    assert all(pid > 1 for pid in pids)
    drawn = machine.ok("tree")
    assert "cage:pulse" in drawn


def test_pid_1_proved_that_the_root_cannot_be_written(machine: Machine) -> None:
    """The boot ends in the recovery hold unless the file system itself refuses (EROFS): see bootstrap.phases."""
    assert "boot phase proof: 1 tasks" in machine.console()
    assert "recovery hold" not in machine.console()


def test_the_default_deny_ruleset_confines_both_agents(machine: Machine) -> None:
    rules = machine.json("egress", "rules")
    links = {link["agent"]: link for link in rules["links"]}
    assert {"pulse", "reader"} <= set(links)
    assert links["pulse"]["grants"] == []
    assert links["pulse"]["guest"] != links["reader"]["guest"]


def test_the_machine_does_not_run_the_hosts_kernel(machine: Machine) -> None:
    assert machine.json("status")["kernel"] != os.uname().release

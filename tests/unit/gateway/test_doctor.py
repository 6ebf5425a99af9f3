"""What doctor says about states of the system that are made up for it."""

from __future__ import annotations

from typing import Any

import pytest

from nullbox.gateway import doctor
from nullbox.gateway.memory import MemoryBackend


def well(**changes: Any) -> dict[str, Any]:
    return {
        "tree": MemoryBackend(["pulse"]).nodes,
        "driver": "krun",
        "acceleration": {"kvm": True, "extension": "svm", "emulated_cpu": False},
        "controllers": ["cpu", "io", "memory", "pids"],
        "egress": None,
        "ctxgraph": None,
        "memory": {"used_mib": 500, "total_mib": 2000},
        "state_dir": "/var",
        "disk_free": 900 << 20,
        "disk_total": 1000 << 20,
        "now": 1_795_539_600.0,
        **changes,
    }


def states(facts: dict[str, Any]) -> dict[str, str]:
    return {each.check: each.state for each in doctor.examine(facts)}


def tree(**states_of: str) -> list[dict[str, Any]]:
    backend = MemoryBackend(["pulse"])
    for name, state in states_of.items():
        backend.set(name if name == "egress" else f"cage:{name}", state=state)
    return backend.nodes


def test_all_is_well() -> None:
    assert set(states(well()).values()) == {"ok"}
    assert len(states(well())) == len(doctor.CHECKS)


@pytest.mark.parametrize(
    ("changes", "check", "state"),
    [
        ({"tree": tree(egress="backoff")}, "services", "failure"),
        ({"tree": tree(pulse="failed")}, "agents", "warning"),
        ({"tree": tree(pulse="backoff")}, "agents", "warning"),
        ({"driver": "process"}, "isolation", "warning"),
        ({"tree": tree(pulse="stopped"), "acceleration": {"kvm": False}}, "isolation", "failure"),
        ({"tree": tree(pulse="stopped"), "acceleration": {"kvm": True, "extension": None}}, "isolation", "failure"),
        ({"controllers": ["memory"]}, "cgroups", "failure"),
        ({"egress": "egress does not run now"}, "firewall", "failure"),
        ({"ctxgraph": "the disk is full"}, "ctxgraph", "failure"),
        ({"disk_free": 50 << 20}, "disk", "warning"),
        ({"disk_free": 1 << 20}, "disk", "failure"),
        ({"disk_total": 0}, "disk", "failure"),
        ({"memory": {"used_mib": 1990, "total_mib": 2000}}, "memory", "warning"),
        ({"now": 0.0}, "clock", "failure"),
    ],
)
def test_each_trouble_is_found_and_comes_with_advice(changes: dict[str, Any], check: str, state: str) -> None:
    facts = well(**changes)
    assert states(facts)[check] == state
    found = {each.check: each for each in doctor.examine(facts)}
    assert found[check].advice
    assert doctor.healthy(doctor.examine(facts)) is (state != "failure")
    assert all(bool(each.advice) is (each.state != "ok") for each in found.values())

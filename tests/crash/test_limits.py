"""Limits in a whole system: a hostile agent fails alone; a service that keeps dying takes everything but the VMs."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from crash_lab import LACKS

from nullbox.chaos.world import SERVICES, World

pytestmark = [
    pytest.mark.net,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(LACKS), reason=f"needs {LACKS}"),
]


@pytest.fixture
def world() -> Iterator[World]:
    with World(max_restarts=3) as world:
        yield world


def state_of(world: World, name: str) -> Callable[[], str]:
    return lambda: str(world.tree().get(name, {}).get("state"))


def lives_of(world: World, *names: str) -> dict[str, tuple[int, int]]:
    nodes = world.tree()
    return {name: (nodes[name]["pid"], nodes[name]["incarnation"]) for name in names}


def test_an_agent_that_dies_for_ever_fails_alone(world: World) -> None:
    spared = (*SERVICES, "cage:beta", "nulld")
    before, beta = lives_of(world, *spared), world.vmms()["beta"]
    failed = state_of(world, "cage:alpha")
    killed: set[int] = set()

    def kill_it_again() -> bool:
        for pid in set(world.vmms().get("alpha", [])) - killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return failed() == "failed"

    world.wait(kill_it_again, 20.0, "the agent's cage to be given up")
    assert len(killed) == 4, "the first, and one for each restart that the limit allows"
    assert lives_of(world, *spared) == before
    assert world.vmms() == {"beta": beta}
    [limit] = [event for event in world.ask("events", 5.0)["events"] if event["kind"] == "limit"]
    assert (limit["child"], limit["on_limit"]) == ("cage:alpha", "fail")
    assert limit["path"] == "nulld/cage:alpha"
    assert world.ask("status", 5.0)["healthy"]
    assert world.ask("agent.start", 10.0, name="alpha")
    world.wait(world.healthy, 10.0, "the agent that its operator started again")
    assert lives_of(world, *spared) == before


def test_a_service_past_its_limit_escalates_to_pid_1_and_the_vms_live_on(world: World) -> None:
    vms, [launcher] = world.vmms(), world.by_name("launcher")["launcher"]
    killed: set[int] = set()

    def kill_it_again() -> bool:
        pid = world.actors().get("ctxgraph")
        if pid is not None and pid not in killed:
            killed.add(pid)
            os.kill(pid, signal.SIGKILL)
        return len(killed) == 4

    world.wait(kill_it_again, 20.0, "the store to die four times")
    world.wait(lambda: world.ended(launcher.pid), 10.0, "the actor system to give up")
    world.settle(20.0)
    assert world.vmms() == vms
    assert world.leaked() == []
    log = (world.folder / "log").read_text()
    assert "nulld/ctxgraph limit" in log
    assert "ctxgraph: more than 3 restarts in 60 s" in log
    assert "starting it again" in (world.folder / "pid1.log").read_text()

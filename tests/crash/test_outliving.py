"""VMs outlive whatever part of the control plane dies, and those who come after find them again."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Iterator

import pytest
from crash_lab import LACKS

from nullbox.chaos.board import When
from nullbox.chaos.faults import Fault
from nullbox.chaos.points import BY_NAME, POINTS
from nullbox.chaos.steps import AGENTS
from nullbox.chaos.world import World

pytestmark = [
    pytest.mark.net,
    pytest.mark.timeout(300),
    pytest.mark.skipif(bool(LACKS), reason=f"needs {LACKS}"),
]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World() as world:
        yield world


@pytest.fixture
def fresh() -> Iterator[World]:
    with World() as world:
        yield world


def victims(world: World, what: str) -> list[int]:
    """Pids of the processes of that name."""
    if what in world.actors():
        return [world.actors()[what]]
    return [process.pid for process in world.processes() if process.name == what]


def boot_of(world: World, agent: str) -> str:
    """The boot id that the agent's guest says it has."""
    return str(world.ask("agent.inspect", 5.0, name=agent)["vm"]["guest"]["boot_id"])


def writes_go_on(world: World) -> Callable[[], bool]:
    before = {agent: len(world.acknowledged(agent)) for agent in AGENTS}
    return lambda: all(len(world.acknowledged(agent)) > before[agent] + 3 for agent in AGENTS)


@pytest.mark.parametrize("what", ["cage:alpha", "egress", "ctxgraph", "gateway", "nulld", "actor-admin", "launcher"])
def test_killing_it_leaves_every_vm_running(world: World, what: str) -> None:
    vms, actors = world.vmms(), world.actors()
    boots = {agent: boot_of(world, agent) for agent in AGENTS}
    [pid] = victims(world, what)
    os.kill(pid, signal.SIGKILL)
    took = world.wait(lambda: world.at_rest() and victims(world, what) not in ([], [pid]), 20.0, f"another {what}")
    print(f"{what} killed, all well after {took:.2f} s")
    assert world.vmms() == vms
    assert world.leaked() == []
    world.wait(writes_go_on(world), 10.0, "ctxgraph access of the VMs to go on")
    for agent in AGENTS:
        assert boot_of(world, agent) == boots[agent]
    if what in ("cage:alpha", "egress", "ctxgraph", "gateway"):
        assert {n: p for n, p in world.actors().items() if n != what} == {n: p for n, p in actors.items() if n != what}


def test_an_adopted_vm_can_be_paused_resumed_and_stopped(fresh: World) -> None:
    [vm] = fresh.vmms()["alpha"]
    os.kill(fresh.actors()["cage:alpha"], signal.SIGKILL)
    fresh.wait(fresh.at_rest, 20.0, "the cage to be back")
    assert fresh.ask("agent.pause", 10.0, name="alpha")["state"] == "paused"
    before = fresh.tree()["cage:alpha"]
    assert before["state"] == "paused"
    os.kill(fresh.actors()["cage:alpha"], signal.SIGKILL)

    def adopted() -> bool:
        node = fresh.tree().get("cage:alpha", {"incarnation": 0})
        return node["incarnation"] > before["incarnation"] and node["state"] == "paused"

    fresh.wait(adopted, 20.0, "the paused VM to be adopted")
    assert fresh.vmms()["alpha"] == [vm]
    assert fresh.ask("agent.resume", 10.0, name="alpha")["state"] == "running"
    fresh.wait(writes_go_on(fresh), 10.0, "the VM to go on")
    fresh.ask("agent.stop", 15.0, name="alpha")
    assert "alpha" not in fresh.vmms()
    assert fresh.tree()["cage:alpha"]["last_exit"]["code"] == 0, "PID 1's record of the orphan"
    fresh.ask("agent.start", 15.0, name="alpha")
    fresh.wait(fresh.healthy, 20.0, "the agent to run again")
    assert fresh.vmms()["alpha"] != [vm]


def test_console_output_of_an_adopted_vm_goes_on(fresh: World) -> None:
    """What it says while nobody listens waits in the FIFO, and what it says later is read by the next actor."""
    log, [vm] = fresh.layout.agent_log("beta"), fresh.vmms()["beta"]
    cage = fresh.actors()["cage:beta"]
    os.kill(cage, signal.SIGSTOP)
    os.kill(vm, signal.SIGUSR1)
    os.kill(cage, signal.SIGKILL)
    fresh.wait(lambda: "beta spoke 1" in log.read_text(), 20.0, "what was said meanwhile")
    fresh.settle(20.0)
    assert fresh.actors()["cage:beta"] != cage
    os.kill(vm, signal.SIGUSR1)
    fresh.wait(lambda: "beta spoke 2" in log.read_text(), 5.0, "what is said now")
    assert log.read_text().count("beta spoke 1") == 1
    assert fresh.vmms()["beta"] == [vm]


def test_a_vm_whose_agent_was_removed_meanwhile_is_ended(fresh: World) -> None:
    place = fresh.layout.bundled_agents / "beta"
    kept = place.rename(fresh.folder / "kept")
    try:
        [launcher] = victims(fresh, "launcher")
        os.kill(launcher, signal.SIGKILL)
        fresh.wait(lambda: "beta" not in fresh.vmms() and "beta" not in fresh.cgroups(), 20.0, "the VM to be ended")
        fresh.wait(lambda: len(fresh.taps()) == 1, 10.0, "its TAP to go")
        fresh.wait(lambda: fresh.tree().get("cage:alpha", {}).get("state") == "running", 20.0, "the other agent")
        fresh.wait(lambda: "cage:beta" not in fresh.tree(), 10.0, "its cage to be forgotten")
        assert not fresh.layout.cage("beta").exists()
    finally:
        shutil.move(kept, place)
        [launcher] = victims(fresh, "launcher")
        os.kill(launcher, signal.SIGKILL)
        fresh.wait(fresh.at_rest, 20.0, "both agents again")


def test_a_stop_that_its_cage_dies_over_ends_the_vm_all_the_same(fresh: World) -> None:
    """The cage is deaf when the stop comes, and killed for it. The VM has heard of nothing then."""
    os.kill(fresh.actors()["cage:alpha"], signal.SIGSTOP)
    assert fresh.ask("agent.stop", 25.0, name="alpha")
    assert "alpha" not in fresh.vmms()
    assert fresh.tree()["cage:alpha"]["state"] == "stopped"
    fresh.wait(lambda: "alpha" not in fresh.cgroups() and len(fresh.taps()) == 1, 10.0, "the rest of it to go")
    fresh.ask("agent.start", 15.0, name="alpha")
    fresh.settle(20.0)


def test_a_restart_that_its_cage_dies_over_makes_another_vm(fresh: World) -> None:
    [old], boot = fresh.vmms()["alpha"], boot_of(fresh, "alpha")
    os.kill(fresh.actors()["cage:alpha"], signal.SIGSTOP)
    assert fresh.ask("agent.restart", 25.0, name="alpha")
    fresh.settle(20.0)
    [vm] = fresh.vmms()["alpha"]
    assert vm != old and boot_of(fresh, "alpha") != boot
    assert fresh.tree()["cage:alpha"]["last_exit"]["kind"] == "shutdown"


def arm(world: World, name: str, when: When, fault: Fault) -> None:
    world.board.arm(POINTS.index(BY_NAME[name]), when, fault)


def test_a_vm_that_cannot_be_adopted_at_first_lives_on(world: World) -> None:
    """For want of memory at the wrong moment it was once ended."""
    vms, before = world.vmms(), world.tree()["cage:alpha"]["incarnation"]
    arm(world, "cage/Vm.adopt", When.BEFORE, Fault.ENOMEM)
    os.kill(world.actors()["cage:alpha"], signal.SIGKILL)
    world.wait(world.board.taken, 10.0, "the fault")
    world.settle(20.0)
    assert world.vmms() == vms
    assert world.tree()["cage:alpha"]["incarnation"] == before + 2


@pytest.mark.parametrize("when", list(When))
def test_a_cage_that_dies_around_the_note_of_its_vm_leaves_one_vm(world: World, when: When) -> None:
    """What is not noted ends by itself, and is in nobody's way."""
    [old] = world.vmms()["alpha"]
    arm(world, "cage/PidRecord.save", when, Fault.SIGKILL)
    with world.send("agent.restart", name="alpha"):
        world.wait(world.board.taken, 10.0, "the fault")
    world.settle(20.0)
    [vm] = world.vmms()["alpha"]
    assert vm != old

"""A VM's machine at work, with a kernel that takes its time."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nullbox.actors.cage import CageActor
from nullbox.actors.cage_machine import MachineActor
from nullbox.cage.machine import adopted
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import CageCommand, Reply, Start
from nullbox.testing import in_process


class SlowCgroup:
    """A cgroup, frozen at first, that does as it is told some looks later."""

    def __init__(self, looks: int) -> None:
        self._looks = looks
        self._left = 0
        self._wanted = True

    def set_frozen(self, frozen: bool) -> None:
        self._wanted, self._left = frozen, self._looks

    def wait_frozen(self, frozen: bool, timeout: float) -> bool:
        return self.frozen is frozen

    @property
    def frozen(self) -> bool:
        self._left -= 1
        return self._wanted if self._left < 0 else not self._wanted


class SlowCage(MachineActor):
    """A paused VM in a slow cgroup."""

    _agent = "slow"

    def started(self, start: Start) -> None:
        control = SimpleNamespace(hello="hello", step=lambda: "hello")
        vm: Any = SimpleNamespace(cgroup=SlowCgroup(start.config["looks"]), control=control)
        self._vm = vm
        self._machine = adopted(frozen=True, now=time.monotonic())
        self._report()

    on_cage_command = CageActor.on_cage_command


@pytest.mark.parametrize("looks", [0, 1, 5])
def test_a_freeze_is_confirmed_when_the_kernel_says_so(looks: int) -> None:
    with in_process() as system:
        cage = system.start(SlowCage, {"looks": looks})
        for number, (verb, state) in enumerate([("resume", "running"), ("pause", "paused"), ("resume", "running")]):
            answer = system.ask(cage, CageCommand(number, verb))
            assert isinstance(answer, Reply)
            assert answer.value["state"] == state


def test_an_actor_made_to_finish_a_stop_starts_nothing_where_nothing_is_left(tmp_path: Path) -> None:
    """It has no peers, since egress and ctxgraph may be down as well."""
    layout = Layout(tmp_path / "run", tmp_path / "state", tmp_path / "system")
    folder = layout.bundled_agents / "gone"
    folder.mkdir(parents=True)
    (folder / "AGENT.toml").write_text('[agent]\nname = "gone"\n')
    config = {"layout": layout.to_plain(), "agent": "gone", "folder": str(folder), "finish": True}
    with in_process() as system:
        cage = system.start(CageActor, config, wait=False)
        assert system.ended(cage).kind == "shutdown"
    assert not layout.cage("gone").exists()

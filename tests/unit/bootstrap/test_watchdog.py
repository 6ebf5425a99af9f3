"""The hardware watchdog is petted while the tree is healthy, and by nobody else's leave."""

from __future__ import annotations

import os
from pathlib import Path

from recording import RecordingHost

from nullbox.bootstrap import lifecycle
from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.log import KernelLog
from nullbox.bootstrap.pid1 import Pid1
from nullbox.bootstrap.watchdog import Watchdog
from nullbox.protocols.layout import Layout


def test_it_is_opened_at_the_first_healthy_moment(tmp_path: Path) -> None:
    """Once opened it has to be petted for ever: a machine that never comes up must not be reset in a circle."""
    device = tmp_path / "watchdog"
    device.touch()
    watchdog = Watchdog(str(device))
    watchdog.pet(healthy=False)
    assert watchdog._fd < 0
    watchdog.pet(healthy=True)
    watchdog.pet(healthy=False)
    watchdog.pet(healthy=True)
    assert device.read_bytes() == b"\0\0", "and never the V of the magic close"


def test_a_machine_that_is_held_is_not_reset(tmp_path: Path) -> None:
    device = tmp_path / "watchdog"
    device.touch()
    pid1 = Pid1(RecordingHost(), KernelLog(str(tmp_path / "kmsg")), Cmdline(), Layout(run=tmp_path))
    pid1._watchdog = Watchdog(str(device))
    pid1._watchdog.pet(healthy=True)
    pid1._perform(lifecycle.Hold("it does not stay up"))
    pid1._watchdog.pet(healthy=True)
    assert device.read_bytes() == b"\0V", "the magic close, and never opened again"


def test_a_machine_without_one_is_asked_once(tmp_path: Path) -> None:
    device = tmp_path / "watchdog"
    watchdog = Watchdog(str(device))
    watchdog.pet(healthy=True)
    device.touch()
    watchdog.pet(healthy=True)
    assert device.read_bytes() == b""


def test_pid_1_pets_while_the_tree_says_that_it_is_healthy(tmp_path: Path) -> None:
    device = tmp_path / "watchdog"
    device.touch()
    ends: list[int] = []

    class Host(RecordingHost):
        def fork(self, main: object, keep: int) -> int:
            ends.append(os.dup(keep))
            return 4711

    pid1 = Pid1(Host(), KernelLog(str(tmp_path / "kmsg")), Cmdline(), Layout(run=tmp_path))
    pid1._watchdog = Watchdog(str(device))
    pid1._tell(lifecycle.Boot())

    def petted_after(said: bytes) -> int:
        before = len(device.read_bytes())
        os.write(ends[-1], said)
        pid1._step()
        return len(device.read_bytes()) - before

    assert petted_after(b".") == 0, "it lives, and its services do not all run"
    assert pid1._state.mode is lifecycle.Mode.UP
    assert petted_after(b"+") == 1
    assert petted_after(b"+.") == 0, "what it said last counts"
    assert petted_after(b".+") == 1
    pid1._tell(lifecycle.Exited(4711, "was killed"))
    os.write(pid1._signals_writer, b"\x11")  # something to wake up for
    before = len(device.read_bytes())
    pid1._step()
    assert len(device.read_bytes()) == before, "a dead tree is not healthy"
    os.close(ends[-1])

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from recording import RecordingHost

from nullbox.bootstrap import lifecycle
from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.log import MAX_LINE, KernelLog, Level, record
from nullbox.bootstrap.pid1 import Pid1
from nullbox.protocols.exits import ExitRecord
from nullbox.protocols.layout import Layout


def test_under_any_other_pid_it_refuses_and_says_what_to_do() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from nullbox.bootstrap.pid1 import main; main()"],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "runs only as PID 1, not as PID" in done.stderr
    assert "nullbox run" in done.stderr


def test_pid_1_needs_nothing_but_the_standard_library() -> None:
    """Without site-packages there is no Thespian, no msgpack, nothing installed: the import must still work."""
    code = (
        "import sys; before = set(sys.modules); sys.path.insert(0, sys.argv[1]); import nullbox.bootstrap.pid1;"
        "print(*sorted({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names)))"
    )
    here = os.path.dirname(os.path.dirname(os.path.abspath(__import__("nullbox").__file__)))
    done = subprocess.run([sys.executable, "-IS", "-c", code, here], capture_output=True, text=True, timeout=30)
    assert done.stdout.split() == ["nullbox"], done.stderr


def test_a_log_record_is_one_line_and_bounded() -> None:
    assert record(Level.ERROR, "a\nb") == b"<27>nullbox: a\\nb"
    assert len(record(Level.INFO, "x" * 5000)) < MAX_LINE + 40


def test_a_start_that_fails_in_any_way_is_tried_again(tmp_path: Path) -> None:
    """A start that raised something else than OSError once left PID 1 waiting for ever."""

    class Broken(RecordingHost):
        def fork(self, main: Callable[[], object], keep: int) -> int:
            raise MemoryError

    pid1 = Pid1(Broken(), KernelLog(str(tmp_path / "kmsg")), Cmdline(), Layout(run=tmp_path))
    pid1._tell(lifecycle.Boot())
    assert pid1._state.mode is lifecycle.Mode.WAITING
    assert pid1._state.deadline is not None


def test_a_start_that_fails_before_it_begins_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the crash schedule of seed 30."""
    pid1 = Pid1(RecordingHost(), KernelLog(str(tmp_path / "kmsg")), Cmdline(), Layout(run=tmp_path))

    def fail() -> int:
        raise OSError(5, "as the test asked")

    monkeypatch.setattr(pid1, "_spawn", fail)
    pid1._tell(lifecycle.Boot())
    assert pid1._state.mode is lifecycle.Mode.WAITING
    monkeypatch.undo()
    assert pid1._state.deadline is not None
    monkeypatch.setattr(time, "monotonic", lambda deadline=pid1._state.deadline: deadline)
    pid1._tell(lifecycle.Tick())
    assert (pid1._state.mode, pid1._state.pid) == (lifecycle.Mode.STARTING, 4711)


def test_after_an_error_it_looks_again_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The signal that woke it is used up: an orphan, or the actor system, would else lie dead for five seconds."""
    looked: list[float] = []

    def reap(*_: object, **__: object) -> Iterator[ExitRecord]:
        looked.append(time.monotonic())
        if len(looked) == 3:
            raise KeyboardInterrupt  # which ends the loop, as nothing else does
        if len(looked) == 2:
            raise OSError(5, "as the test asked")
        os.write(pid1._signals_writer, b"\x11")  # SIGCHLD
        return iter(())

    pid1 = Pid1(RecordingHost(), KernelLog(str(tmp_path / "kmsg")), Cmdline(), Layout(run=tmp_path))
    monkeypatch.setattr("nullbox.bootstrap.pid1.reap", reap)
    monkeypatch.setattr(pid1, "_install_signals", lambda: pid1._selector.register(pid1._signals, 1))
    os.write(pid1._signals_writer, b"\x11")
    with pytest.raises(KeyboardInterrupt):
        pid1.run()
    assert looked[2] - looked[1] < 2.0

"""A machine's record, and the processes it names."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nullbox.host import record
from nullbox.host.qemu import Machine
from nullbox.host.record import Process, Record, identity_of, start_time

OWN = Process(os.getpid(), start_time(os.getpid()) or 0)


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = Record(OWN, Process(2, 3), "identity", "KVM: why")
    record.write(tmp_path / "r", written)
    assert record.read(tmp_path / "r") == written


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"keeper": {"pid": 1}}', "null"])
def test_a_damaged_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "r").write_text(text)
    assert record.read(tmp_path / "r") is None
    assert record.read(tmp_path / "missing") is None


def test_a_process_is_its_number_and_its_start() -> None:
    assert OWN.alive()
    assert not replace(OWN, started=OWN.started - 1).alive()


def test_another_process_of_the_same_number_is_never_signalled() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        impostor = Process(child.pid, (start_time(child.pid) or 0) - 1)
        impostor.send(signal.SIGKILL)
        child.communicate(b"\n")
    assert child.returncode == 0


def test_a_process_that_has_ended_is_not_alive_even_before_it_is_reaped() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        process = Process(child.pid, start_time(child.pid) or 0)
        assert process.alive()
        assert child.stdin
        child.stdin.close()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not process.alive()


def test_identity_is_what_is_run_and_not_where(tmp_path: Path) -> None:
    for name in ("k", "r", "k2"):
        (tmp_path / name).write_text("same")
    (tmp_path / "r2").write_text("other")
    machine = Machine(tmp_path / "k", tmp_path / "r", Path("console"), Path("gateway"))
    assert identity_of(replace(machine, kernel=tmp_path / "k2", console=Path("x"))) == identity_of(machine)
    assert identity_of(replace(machine, root=tmp_path / "r2")) != identity_of(machine)
    assert identity_of(replace(machine, memory_mib=1024)) != identity_of(machine)
    assert identity_of(replace(machine, append=("a",))) != identity_of(machine)

"""VMM processes: started, found again, and how they ended. A small program stands where the VM would be.

The runner itself is the real one; its plan names a library that is not there, so that it ends by itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from nullbox.cage import planfile
from nullbox.cage.manifest import parse
from nullbox.cage.plan import HostFacts, Site, plan
from nullbox.cage.process import PidRecord, VmProcess, load_record, make_fifo
from nullbox.cage.users import FIRST
from nullbox.cage.vmm import Failure
from nullbox.cage.vmplan import VmPlan
from nullbox.protocols.exits import ExitRecord, start_time_of, write_record
from pykrun.abi import SMOLMACHINES
from pykrun.functions import FUNCTIONS

REPOSITORY = Path(__file__).parents[3]
ENVIRON = {"PYTHONPATH": str(REPOSITORY), "PATH": os.environ["PATH"]}
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can build the jail of a VMM")
EXPORTED = frozenset(name for name, function in FUNCTIONS.items() if function.families & SMOLMACHINES)


def planned(folder: Path, *, cgroup: Path, library: str) -> VmPlan:
    for name in ("guest", "agent", "ctx", "room", "jail"):
        (folder / name).mkdir(exist_ok=True)
    site = Site(
        uid=FIRST,
        guest_root=str(folder / "guest"),
        agent_folder=str(folder / "agent"),
        data=str(folder / "data"),
        ctx_socket=str(folder / "ctx" / "sock"),
        control=str(folder / "room" / "control.sock"),
        console=str(folder / "console"),
        failure=str(folder / "failure.json"),
        jail=str(folder / "jail"),
        cgroup=str(cgroup),
    )
    facts = HostFacts(cpus=1, memory_mib=4096, committed_mib=0, functions=EXPORTED, library=library)
    made = plan(parse('[agent]\nname = "a"'), facts, site, None)
    return replace(made, jail=replace(made.jail, devices=()))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    make_fifo(tmp_path / "console")
    cgroup = tmp_path / "cgroup"
    cgroup.mkdir()
    (cgroup / "cgroup.procs").touch()
    return tmp_path


def spawn(folder: Path, made: VmPlan | None) -> VmProcess:
    text = "{" if made is None else planfile.dumps(made)
    (folder / "plan.json").write_text(text)
    return VmProcess.spawn(folder / "plan.json", folder / "console", python=[sys.executable], environ=ENVIRON)


def ended(process: VmProcess, folder: Path) -> ExitRecord:
    assert process.wait(30)
    record = process.poll(folder)
    assert record is not None
    assert process.poll(folder) == record
    process.close()
    return record


def console(reader: int) -> str:
    try:
        return os.read(reader, 65536).decode()
    except BlockingIOError:
        return ""


@pytest.fixture
def reader(folder: Path) -> int:
    return os.open(folder / "console", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def test_a_plan_that_cannot_be_read(folder: Path, reader: int) -> None:
    assert ended(spawn(folder, None), folder).code == Failure.PLAN
    assert "cannot read the plan" in console(reader)


def test_a_cgroup_that_is_not_there(folder: Path, reader: int) -> None:
    made = planned(folder, cgroup=folder / "none", library="/nonexistent.so")
    assert ended(spawn(folder, made), folder).code == Failure.CGROUP
    assert json.loads((folder / "failure.json").read_text())["failure"] == "cgroup"
    assert "nullbox: no VM: cannot join the cgroup" in console(reader)


def test_a_library_that_is_not_there(folder: Path, reader: int) -> None:
    made = planned(folder, cgroup=folder / "cgroup", library="/nonexistent.so")
    assert ended(spawn(folder, made), folder).code == Failure.LIBRARY
    assert (folder / "cgroup" / "cgroup.procs").read_text() == "0"
    failure = json.loads((folder / "failure.json").read_text())
    assert failure["code"] == Failure.LIBRARY
    assert "/nonexistent.so" in failure["reason"]


@needs_root
def test_a_machine_that_libkrun_refuses(folder: Path, reader: int) -> None:
    from pykrun.lib import wheel_folder

    wheel = wheel_folder()
    if wheel is None:
        pytest.skip("the smolmachines package is not installed")
    made = planned(folder, cgroup=folder / "cgroup", library=str(wheel / "libkrun.so"))
    made = replace(made, calls=(("krun_set_vm_config", (0, 0)),))
    assert ended(spawn(folder, made), folder).code == Failure.MACHINE
    assert "libkrun refused the machine: [Errno 22] krun_set_vm_config" in console(reader)


@needs_root
def test_a_jail_that_cannot_be_built_is_no_vm(folder: Path, reader: int) -> None:
    from pykrun.lib import wheel_folder

    wheel = wheel_folder()
    if wheel is None:
        pytest.skip("the smolmachines package is not installed")
    made = planned(folder, cgroup=folder / "cgroup", library=str(wheel / "libkrun.so"))
    (folder / "agent").rmdir()
    assert ended(spawn(folder, made), folder).code == Failure.JAIL
    told = json.loads((folder / "failure.json").read_text())
    assert told["failure"] == "jail"
    assert told["reason"] == "the jail could not be built: change the root: No such file or directory"
    assert "no VM: the jail could not be built" in console(reader)


def test_a_console_that_is_not_there(folder: Path) -> None:
    made = replace(planned(folder, cgroup=folder / "cgroup", library="/x.so"), console=str(folder / "none"))
    assert ended(spawn(folder, made), folder).code == Failure.CONSOLE


def sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def start_time(pid: int) -> int:
    return start_time_of(Path(f"/proc/{pid}/stat").read_text())


def test_a_process_is_found_again_by_pid_and_start_time(tmp_path: Path) -> None:
    child = sleeper()
    try:
        record = PidRecord(child.pid, start_time(child.pid))
        record.save(tmp_path / "pid")
        assert load_record(tmp_path / "pid") == record
        adopted = VmProcess.adopt(record)
        assert adopted is not None
        assert not adopted.ended
        assert adopted.poll(tmp_path) is None
        child.kill()
        assert adopted.wait(10)
        child.wait(10)
        assert adopted.poll(tmp_path) is None, "no record yet"
        write_record(tmp_path, ExitRecord(record.pid, record.start_time, 3, None))
        exit_record = adopted.poll(tmp_path)
        assert exit_record is not None
        assert exit_record.code == 3
        adopted.close()
        assert VmProcess.adopt(record) is None
    finally:
        child.kill()
        child.wait(10)


def test_a_reused_pid_is_nobody_we_know(tmp_path: Path) -> None:
    child = sleeper()
    try:
        assert VmProcess.adopt(PidRecord(child.pid, start_time(child.pid) - 1)) is None
    finally:
        child.kill()
        child.wait(10)


def test_a_signal_is_told_from_a_code(folder: Path) -> None:
    """The runner waits for a FIFO plan, so that there is time to kill it."""
    os.mkfifo(folder / "plan.json")
    process = VmProcess.spawn(folder / "plan.json", folder / "console", python=[sys.executable], environ=ENVIRON)
    assert process.poll(folder) is None
    os.kill(process.record.pid, signal.SIGKILL)
    record = ended(process, folder)
    assert (record.code, record.signal) == (None, signal.SIGKILL)


def test_a_runner_waits_until_it_is_noted(folder: Path, reader: int) -> None:
    made = planned(folder, cgroup=folder / "cgroup", library="/nonexistent.so")
    (folder / "plan.json").write_text(planfile.dumps(made))
    record = folder / "pid.json"
    process = VmProcess.spawn(
        folder / "plan.json", folder / "console", python=[sys.executable], environ=ENVIRON, record=record
    )
    assert load_record(record) == process.record
    assert ended(process, folder).code == Failure.LIBRARY


def test_a_runner_that_nobody_noted_ends_and_touches_nothing(
    folder: Path, reader: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cage that was killed before it noted its VMM once left one that nobody knew, in the way of the next."""
    made = planned(folder, cgroup=folder / "cgroup", library="/nonexistent.so")
    (folder / "plan.json").write_text(planfile.dumps(made))
    started: list[int] = []

    def fail(self: PidRecord, path: Path) -> None:
        started.append(self.pid)
        raise OSError(28, "no space")

    monkeypatch.setattr(PidRecord, "save", fail)
    with pytest.raises(OSError, match="no space"):
        VmProcess.spawn(
            folder / "plan.json",
            folder / "console",
            python=[sys.executable],
            environ=ENVIRON,
            record=folder / "pid.json",
        )
    _, status = os.waitpid(started[0], 0)
    assert os.waitstatus_to_exitcode(status) == Failure.RECORD
    assert console(reader) == ""
    assert not (folder / "failure.json").exists()
    assert (folder / "cgroup" / "cgroup.procs").read_text() == ""


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"pid": "x", "start_time": 1}', '{"pid": null, "start_time": 1}'])
def test_a_broken_record_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert load_record(tmp_path / "pid") is None
    assert load_record(tmp_path / "none") is None


def test_a_fifo_is_kept_and_another_thing_is_refused(tmp_path: Path) -> None:
    make_fifo(tmp_path / "a")
    make_fifo(tmp_path / "a")
    (tmp_path / "b").touch()
    with pytest.raises(FileExistsError):
        make_fifo(tmp_path / "b")

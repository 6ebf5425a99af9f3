"""cgroups: on a directory twin for what is written, and on the machine's own hierarchy for what the kernel does.

The real tests make a cgroup of their own below the v2 hierarchy and remove it; they touch no other.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from nullbox.cage.cgroup import Cgroup, CgroupTree
from nullbox.protocols.errors import ErrorCode, NullBoxError

LIMITS = {"memory.max": "67108864", "memory.swap.max": "0", "cpu.max": "50000 100000", "pids.max": "128"}


@pytest.fixture
def twin(tmp_path: Path) -> CgroupTree:
    """A directory that looks like a cgroup v2 hierarchy; files that mkdir makes in a real one are made by hand."""
    root = tmp_path / "cgroup"
    for folder in (root, root / "nullbox"):
        folder.mkdir()
        (folder / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
        (folder / "cgroup.subtree_control").write_text("cpu\n")
    return CgroupTree(root)


def make(tree: CgroupTree, agent: str, *missing: str) -> Cgroup:
    cgroup = tree.cgroup(agent)
    cgroup.path.mkdir()
    for name in {*LIMITS, "cgroup.procs", "cgroup.freeze", "cgroup.kill"} - set(missing):
        (cgroup.path / name).write_text("")
    (cgroup.path / "cgroup.events").write_text("populated 0\nfrozen 0\n")
    return cgroup


def test_controllers_that_are_missing_below_are_handed_down(twin: CgroupTree) -> None:
    twin.prepare()
    assert (twin.path / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_a_hierarchy_without_a_controller_is_refused(twin: CgroupTree) -> None:
    (twin.root / "cgroup.controllers").write_text("cpu\n")
    with pytest.raises(NullBoxError, match="no cgroup controller memory, pids") as caught:
        twin.prepare()
    assert caught.value.code is ErrorCode.UNAVAILABLE


def test_no_hierarchy_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NullBoxError, match="cgroup v2 is needed"):
        CgroupTree(tmp_path / "none").prepare()


def test_limits_are_written_and_a_kernel_without_swap_is_no_obstacle(twin: CgroupTree) -> None:
    cgroup = make(twin, "a", "memory.swap.max")
    cgroup.create(LIMITS)
    assert (cgroup.path / "cpu.max").read_text() == "50000 100000"
    assert (cgroup.path / "memory.max").read_text() == "67108864"
    assert not (cgroup.path / "memory.swap.max").exists()


def test_a_limit_that_cannot_be_set_stops_the_start(twin: CgroupTree) -> None:
    cgroup = make(twin, "a", "pids.max")
    with pytest.raises(NullBoxError, match=r"cannot set pids\.max to 128"):
        cgroup.create(LIMITS)


def test_agents_with_a_cgroup_are_found_again(twin: CgroupTree) -> None:
    make(twin, "b")
    make(twin, "a")
    assert twin.agents() == ["a", "b"]
    assert CgroupTree(twin.root, "other").agents() == []


def test_statistics_leave_out_what_is_not_there(twin: CgroupTree) -> None:
    cgroup = make(twin, "a")
    (cgroup.path / "cpu.stat").write_text("usage_usec 1200\nuser_usec 1000\nthrottled_usec 7\nbad line\n")
    (cgroup.path / "memory.current").write_text("4096\n")
    (cgroup.path / "pids.current").write_text("max\n")
    assert cgroup.stats() == {"cpu_usec": 1200, "throttled_usec": 7, "memory_bytes": 4096}


def test_what_is_gone_is_gone(twin: CgroupTree) -> None:
    cgroup = twin.cgroup("none")
    assert cgroup.remove()
    assert cgroup.processes() == []
    assert not cgroup.exists
    cgroup.kill()


# --- the kernel --------------------------------------------------------------------------------------------


def v2_root() -> Path:
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, where, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(where, os.W_OK):
            return Path(where)
    pytest.skip("no writable cgroup v2 hierarchy on this machine")


@pytest.fixture
def cgroup() -> Iterator[Cgroup]:
    made = Cgroup(v2_root() / f"nullbox-test-{uuid.uuid4().hex[:12]}")
    try:
        made.create({})
    except OSError as error:
        pytest.skip(f"cannot make a cgroup on this machine: {error}")
    yield made
    if made.exists:
        made.set_frozen(False)
        made.kill()
        assert made.wait_empty(5)
        assert made.remove()


@pytest.fixture
def counter(cgroup: Cgroup, tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in the cgroup that writes a byte every millisecond."""
    program = "import sys,time\nwhile True: sys.stdout.buffer.write(b'x'); sys.stdout.flush(); time.sleep(0.001)"
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    cgroup.add(process.pid)
    yield process
    process.kill()
    process.wait(5)
    assert process.stdout is not None
    process.stdout.close()


def read_some(process: subprocess.Popen[bytes]) -> int:
    assert process.stdout is not None
    return len(os.read(process.stdout.fileno(), 65536))


def test_freeze_is_confirmed_and_stops_the_process(cgroup: Cgroup, counter: subprocess.Popen[bytes]) -> None:
    assert read_some(counter) > 0
    cgroup.set_frozen(True)
    assert cgroup.wait_frozen(True, 5)
    assert cgroup.frozen
    assert counter.stdout is not None
    os.set_blocking(counter.stdout.fileno(), False)
    while True:  # what was written before the freeze
        try:
            os.read(counter.stdout.fileno(), 65536)
        except BlockingIOError:
            break
    assert not cgroup.wait_frozen(False, 0.2)
    with pytest.raises(BlockingIOError):
        os.read(counter.stdout.fileno(), 65536)
    os.set_blocking(counter.stdout.fileno(), True)
    cgroup.set_frozen(False)
    assert cgroup.wait_frozen(False, 5)
    assert read_some(counter) > 0


def test_waiting_ends_at_the_change_and_not_at_the_deadline(cgroup: Cgroup, counter: subprocess.Popen[bytes]) -> None:
    assert read_some(counter) > 0
    begun = time.monotonic()
    timer = threading.Timer(0.1, cgroup.set_frozen, [True])
    timer.start()
    assert cgroup.wait_frozen(True, 30)
    assert time.monotonic() - begun < 20
    timer.join()


def test_kill_ends_even_what_is_frozen(cgroup: Cgroup, counter: subprocess.Popen[bytes]) -> None:
    assert cgroup.processes() == [counter.pid]
    assert not cgroup.remove()
    cgroup.set_frozen(True)
    assert cgroup.wait_frozen(True, 5)
    cgroup.kill()
    assert cgroup.wait_empty(5)
    assert counter.wait(5) == -9
    assert cgroup.remove()


def test_a_process_that_is_not_there_cannot_be_added(cgroup: Cgroup) -> None:
    with pytest.raises(OSError, match="No such process"):
        cgroup.add(2**22 - 1)

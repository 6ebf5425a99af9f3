"""The mount and sysctl tables, held against the rules they must keep."""

from __future__ import annotations

from pathlib import PurePosixPath

import pytest

from nullbox.bootstrap.mounts import MOUNTS, MS_NODEV, MS_NOEXEC, MS_NOSUID, PSTORE
from nullbox.bootstrap.state import in_memory, on_disk
from nullbox.bootstrap.sysctls import SYSCTLS, reserve

ALL = (*MOUNTS, PSTORE, in_memory(), on_disk("vdb1", quotas=False), on_disk("vdb2", quotas=True))


def test_nothing_mounted_is_writable_and_executable() -> None:
    assert [m.target for m in ALL if not m.flags & MS_NOEXEC] == []


def test_nothing_mounted_honours_setuid() -> None:
    assert [m.target for m in ALL if not m.flags & MS_NOSUID] == []


def test_devices_are_found_in_dev_alone() -> None:
    assert {m.target for m in ALL if not m.flags & MS_NODEV} == {"/dev", "/dev/pts"}


def test_a_mount_point_comes_after_the_mount_it_lies_on() -> None:
    seen: set[str] = set()
    for mount in MOUNTS:
        covers = [t for t in (m.target for m in MOUNTS) if PurePosixPath(mount.target).is_relative_to(t)]
        assert all(t in seen or t == mount.target for t in covers), mount.target
        seen.add(mount.target)


def test_no_mount_point_twice_and_every_line_has_its_reason() -> None:
    targets = [m.target for m in MOUNTS]
    assert len(set(targets)) == len(targets)
    assert all(m.why for m in MOUNTS)


def test_the_contracts_mount_points_are_there() -> None:
    wanted = {"/proc", "/sys", "/dev", "/dev/pts", "/dev/shm", "/tmp", "/run", "/var", "/sys/fs/cgroup"}
    assert {m.target for m in ALL} == wanted | {"/sys/fs/pstore"}


@pytest.mark.parametrize(
    ("meminfo", "kib"),
    [
        ("MemTotal:        2043124 kB\nMemFree: 1 kB\n", "1995"),
        ("MemTotal: 262144 kB\n", "1024"),
        ("MemTotal: 67108864 kB\n", "65536"),
    ],
)
def test_the_reserve_grows_with_the_memory(meminfo: str, kib: str) -> None:
    found = reserve(meminfo)
    assert found is not None
    assert (found.name, found.value) == ("vm.min_free_kbytes", kib)


@pytest.mark.parametrize("meminfo", ["", "MemTotal:\n", "MemTotal: x kB\n", "MemFree: 5 kB\n"])
def test_without_a_total_the_kernels_own_reserve_stays(meminfo: str) -> None:
    assert reserve(meminfo) is None


def test_sysctls_are_named_once_each_with_a_reason_below_proc_sys() -> None:
    names = [s.name for s in SYSCTLS]
    assert len(set(names)) == len(names)
    assert all(s.why and s.source and s.path.startswith("/proc/sys/") and ".." not in s.path for s in SYSCTLS)

"""The STATE partition: found by its label or not at all, made when it is empty, checked, never guessed at."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from own_mounts import in_own_mounts
from recording import RecordingHost

from nullbox.bootstrap import lasting, state
from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.partitions import FOREIGN, PROBE, Content, content, has_quotas, labelled
from nullbox.cage.users import FIRST

EMPTY = bytes(32 << 20)
OPTIONS = Cmdline()


def uevent(name: str, label: str = "STATE", kind: str = "partition") -> str:
    return f"MAJOR=254\nMINOR=17\nDEVNAME={name}\nDEVTYPE={kind}\nPARTN=1\nPARTNAME={label}\n"


def ext4() -> bytes:
    disk = bytearray(EMPTY)
    disk[1024 + 56 : 1024 + 58] = b"\x53\xef"
    return bytes(disk)


def with_disk(disk: bytes, **more: str) -> RecordingHost:
    host = RecordingHost()
    host.devices["vdb1"] = (uevent("vdb1"), disk)
    for name, label in more.items():
        host.devices[name] = (uevent(name, label), EMPTY)
    return host


def record(host: RecordingHost) -> dict[str, object]:
    return dict(json.loads(host.files["/run/nullbox/state.json"]))


# --- which partition


def test_the_label_decides_and_nothing_else() -> None:
    found = {
        "vda": uevent("vda", kind="disk"),
        "vda1": uevent("vda1", "ESP"),
        "vdb1": uevent("vdb1", "state"),
        "vdc1": uevent("vdc1", "STATE2"),
        "nvme0n1p4": uevent("nvme0n1p4"),
    }
    assert labelled("STATE", found) == ["nvme0n1p4"]


def test_without_such_a_partition_the_system_runs_in_memory_and_says_why() -> None:
    host = RecordingHost()
    said = lasting.mount_state(host, OPTIONS)
    assert host.trace == ["mount /var tmpfs", "replace /run/nullbox/state.json 644"]
    assert record(host)["kind"] == "memory"
    assert "no disk has a partition labelled STATE" in said


def test_two_of_them_are_none() -> None:
    host = with_disk(EMPTY, vdc1="STATE")
    lasting.mount_state(host, OPTIONS)
    assert record(host)["kind"] == "memory"
    assert "vdb1 and vdc1" in str(record(host)["detail"])
    assert not any(line.startswith(("run", "wipe")) for line in host.trace)


# --- what is on it


def test_an_empty_one_gets_a_file_system() -> None:
    host = with_disk(EMPTY)
    lasting.mount_state(host, OPTIONS)
    assert host.trace[-3:] == [
        f"run {state.MKE2FS} /dev/vdb1",
        "mount /var ext4 /dev/vdb1",
        "replace /run/nullbox/state.json 644",
    ]
    assert record(host) == {
        "kind": "disk",
        "device": "vdb1",
        "created": True,
        "detail": "vdb1 was empty and has a new file system",
    }


def test_one_with_a_file_system_is_checked_first() -> None:
    host = with_disk(ext4())
    lasting.mount_state(host, OPTIONS)
    assert host.trace[1:3] == [f"run {state.E2FSCK} /dev/vdb1", "mount /var ext4 /dev/vdb1"]
    assert record(host)["created"] is False


@pytest.mark.parametrize(("features", "quotas"), [(0, False), (0x100, False), (0x2000, False), (0x2500, True)])
def test_quotas_are_enforced_where_the_file_system_was_made_for_them(features: int, quotas: bool) -> None:
    """Asking for them elsewhere is a mount that fails: a partition of an earlier release goes on without."""
    disk = bytearray(ext4())
    disk[1024 + 0x64 : 1024 + 0x68] = features.to_bytes(4, "little")
    host = with_disk(bytes(disk))
    lasting.mount_state(host, OPTIONS)
    assert host.mounted["/var"].data.split(",").count("prjquota") == quotas


@pytest.mark.parametrize("code", [4, 8, 12, 32, 124, 127, 139])
def test_one_that_cannot_be_repaired_is_left_alone(code: int) -> None:
    host = with_disk(ext4())
    host.programs[state.E2FSCK] = (code, "UNEXPECTED INCONSISTENCY")
    lasting.mount_state(host, OPTIONS)
    assert "mount /var tmpfs" in host.trace
    assert "mount /var ext4 /dev/vdb1" not in host.trace
    assert record(host)["device"] == "vdb1"
    assert "power reset --state" in str(record(host)["detail"])


@pytest.mark.parametrize("code", [0, 1, 2, 3])
def test_one_that_was_repaired_is_used(code: int) -> None:
    assert state.verdict(code)[0]


def test_somebody_elses_data_are_never_overwritten() -> None:
    for name, offset, magic in FOREIGN:
        disk = bytearray(EMPTY)
        disk[offset : offset + len(magic)] = magic
        host = with_disk(bytes(disk))
        lasting.mount_state(host, OPTIONS)
        assert record(host)["kind"] == "memory", name
        assert not any(line.startswith("run") for line in host.trace), name


@given(st.integers(0, 2047), st.integers(1, 255))
def test_any_byte_where_a_file_system_begins_counts_as_somebodys(at: int, value: int) -> None:
    head = bytearray(PROBE)
    head[at] = value
    assert content(bytes(head))[0] is not Content.EMPTY


@given(st.binary(max_size=4096))
def test_whatever_is_there_is_told_apart(head: bytes) -> None:
    kind, words = content(head)
    assert words
    assert (kind is Content.EMPTY) <= (not any(head[:2048]))


def test_one_that_is_too_small_is_not_used() -> None:
    host = RecordingHost()
    host.devices["vdb1"] = (uevent("vdb1"), bytes(1 << 20))
    lasting.mount_state(host, OPTIONS)
    assert "at least 16777216" in str(record(host)["detail"])


@pytest.mark.parametrize("refused", ["read_device", "run", "mount /var ext4"])
def test_a_disk_that_fails_leaves_the_system_in_memory(refused: str) -> None:
    host = with_disk(EMPTY)
    host._refuse = {refused: OSError(5, "Input/output error")}
    lasting.mount_state(host, OPTIONS)
    assert record(host)["kind"] == "memory"
    assert "Input/output error" in str(record(host)["detail"])


def test_mkfs_that_fails_says_its_words() -> None:
    host = with_disk(EMPTY)
    host.programs[state.MKE2FS] = (1, "No space left")
    lasting.mount_state(host, OPTIONS)
    assert "No space left" in str(record(host)["detail"])


# --- with the real programs, on a file


def test_the_real_mke2fs_makes_what_the_real_e2fsck_finds_clean(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(EMPTY)
    argv = [word.replace("/dev/x", str(disk)) for word in state.mkfs_argv("x")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    assert content(disk.read_bytes()[:PROBE])[0] is Content.EXT4
    assert has_quotas(disk.read_bytes()[:PROBE])
    argv = [word.replace("/dev/x", str(disk)) for word in state.fsck_argv("x")]
    done = subprocess.run(argv, capture_output=True, timeout=60)
    assert state.verdict(done.returncode) == (True, "is clean")
    shown = subprocess.run(["dumpe2fs", "-h", str(disk)], capture_output=True, text=True, timeout=60).stdout
    line = next(each for each in shown.splitlines() if each.startswith("Filesystem features:"))
    assert set(line.split(":")[1].split()) >= set(state.FEATURES)


@pytest.mark.skipif(os.geteuid() != 0 or not Path("/dev/loop-control").exists(), reason="needs root and loop devices")
def test_agents_that_fill_the_disk_leave_the_system_its_room(tmp_path: Path) -> None:
    """Whoever is not root runs into the end of the disk first, and root writes on."""
    disk, size = tmp_path / "disk", 64 << 20
    with disk.open("wb") as file:
        file.truncate(size)
    # Without quotas, which few kernels can mount: this is about what is left when all that agents may use is used.
    argv = [
        word.replace("/dev/x", str(disk)).replace(",quota,project", "").replace(",quotatype=prjquota", "")
        for word in state.mkfs_argv("x")
    ]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    place = tmp_path / "place"
    place.mkdir()

    def work() -> None:
        subprocess.run(["mount", "-o", "loop", disk, place], check=True, capture_output=True, timeout=60)
        (place / "agents").mkdir(mode=0o777)
        (place / "agents").chmod(0o777)
        agent = os.fork()
        if agent == 0:
            os.chdir(place / "agents")  # while it may still walk through pytest's folders
            os.setuid(FIRST)
            os._exit(fill(Path("big")) == 0)
        assert os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1]) == 0
        kept = size * state.KEPT_FOR_ROOT // 100
        assert fill(place / "store") >= kept * 0.9
        assert (place / "agents" / "big").stat().st_size > size * 0.8

    in_own_mounts(work)


def fill(path: Path) -> int:
    """Write until there is no room left; how many bytes went in."""
    block, written = bytes(1 << 18), 0
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                written += file.write(block)
        except OSError as error:
            assert error.errno == errno.ENOSPC
    return written


def test_a_mke2fs_that_lost_its_power_leaves_an_empty_partition(tmp_path: Path) -> None:
    """The superblock is written last: everything before it is as good as nothing."""
    disk = tmp_path / "disk"
    disk.write_bytes(EMPTY)
    argv = [word.replace("/dev/x", str(disk)) for word in state.mkfs_argv("x")]
    subprocess.run(argv, check=True, capture_output=True, timeout=60)
    with disk.open("r+b") as file:
        file.seek(1024)
        file.write(bytes(1024))
    assert content(disk.read_bytes()[:PROBE])[0] is Content.EMPTY


# --- what lasts


def test_a_machine_keeps_its_id() -> None:
    host = RecordingHost()
    lasting.machine_id(host, OPTIONS)
    first = host.files["/run/nullbox/machine-id"]
    assert len(first.strip()) == 32
    lasting.machine_id(host, OPTIONS)
    assert host.files["/run/nullbox/machine-id"] == first == host.files["/var/lib/nullbox/machine-id"]


@pytest.mark.parametrize("broken", [b"", b"xyz\n", b"A" * 32, b"0" * 31, b"\0" * 32])
def test_a_broken_id_is_replaced(broken: bytes) -> None:
    host = RecordingHost()
    host.files["/var/lib/nullbox/machine-id"] = broken
    assert "new" in lasting.machine_id(host, OPTIONS)


def test_no_two_boots_have_one_seed() -> None:
    host = RecordingHost()
    lasting.stir(host, OPTIONS)
    assert host.stirred == []
    first = host.files["/var/lib/nullbox/random-seed"]
    lasting.stir(host, OPTIONS)
    assert host.stirred == [first]
    assert host.files["/var/lib/nullbox/random-seed"] != first
    assert len(first) == 512


@pytest.mark.parametrize(
    ("now", "saved", "then"),
    [
        (0.0, b"", lasting.BUILT),
        (0.0, b"1900000000\n", 1_900_000_000),
        (1_950_000_000.0, b"1900000000\n", 1_950_000_000),
        (1_950_000_000.0, b"99999999999999", 1_950_000_000),
        (1_950_000_000.0, b"-5", 1_950_000_000),
        (0.0, b"\xff\xfe", lasting.BUILT),
    ],
)
def test_the_clock_never_goes_back(now: float, saved: bytes, then: int) -> None:
    host = RecordingHost()
    host.time = now
    host.files["/var/lib/nullbox/clock"] = saved
    lasting.set_clock(host, OPTIONS)
    assert host.time == then

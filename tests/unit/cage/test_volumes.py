"""Volumes behind /data: sizes, owners, and what lies in the way. Real mounts, in a namespace of the test's own."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from own_mounts import in_own_mounts

from nullbox.cage import mounts, quota
from nullbox.cage.resources import VOLUME_INODES, VOLUME_MIB
from nullbox.cage.users import DATA_GROUP
from nullbox.cage.volumes import Volumes
from nullbox.protocols.errors import ErrorCode, NullBoxError

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: volumes are mounted")


def in_memory(data: Path, work: Callable[[], None]) -> None:
    """Run with the tree in memory, as in the image without a state disk."""

    def mounted() -> None:
        data.mkdir(exist_ok=True)
        mounts.mount("test", str(data), "tmpfs", 0, "size=100m")
        work()

    in_own_mounts(mounted)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_grant_is_a_folder_in_a_volume_of_its_own(tmp_path: Path) -> None:
    def work() -> None:
        Volumes(tmp_path).prepare(["/data/corpus/de"], ["/data/out/x", "/data/all"])
        assert [path.name for path in sorted(tmp_path.iterdir())] == ["all", "corpus", "out"]
        assert all(mounts.is_mount_point(str(path)) for path in tmp_path.iterdir())
        assert mode(tmp_path / "out" / "x") == mode(tmp_path / "all") == 0o2770
        assert mode(tmp_path / "corpus" / "de") == 0o2750
        assert {(tmp_path / name).stat().st_gid for name in ("out/x", "all", "corpus/de")} == {DATA_GROUP}
        assert mode(tmp_path / "out") == 0o755, "what is not granted is not the agents' to write in"

    in_memory(tmp_path, work)


def test_a_second_agent_finds_the_same_volume_and_what_is_in_it(tmp_path: Path) -> None:
    def work() -> None:
        Volumes(tmp_path).prepare([], ["/data/shared/x"])
        (tmp_path / "shared" / "x" / "file").write_text("x")
        Volumes(tmp_path).prepare(["/data/shared/x"], [])
        assert (tmp_path / "shared" / "x" / "file").read_text() == "x"
        assert mode(tmp_path / "shared" / "x") == 0o2770, "reading takes nothing from who may write"
        lines = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if f"{tmp_path}/shared" in line]
        assert len(lines) == 1

    in_memory(tmp_path, work)


def test_a_full_volume_is_full_and_others_are_not(tmp_path: Path) -> None:
    def work() -> None:
        volumes = Volumes(tmp_path)
        volumes.prepare([], ["/data/a", "/data/b"])
        with pytest.raises(OSError, match="No space") as caught, (tmp_path / "a" / "big").open("wb") as file:
            for _ in range(VOLUME_MIB + 1):
                file.write(bytes(1 << 20))
                file.flush()
        assert caught.value.errno == errno.ENOSPC
        (tmp_path / "b" / "small").write_bytes(bytes(1 << 20))
        assert VOLUME_MIB < volumes.used_mib() <= VOLUME_MIB + 2
        with pytest.raises(NullBoxError, match="full") as refused:
            for number in range(10_000):
                volumes.prepare([], [f"/data/a/{number}/{number}"])
        assert refused.value.code is ErrorCode.UNAVAILABLE

    in_memory(tmp_path, work)


def test_a_volume_holds_so_many_files(tmp_path: Path) -> None:
    def work() -> None:
        Volumes(tmp_path).prepare([], ["/data/a"])
        with pytest.raises(OSError, match="No space"):
            for number in range(VOLUME_INODES + 1):
                (tmp_path / "a" / str(number)).touch()

    in_memory(tmp_path, work)


@pytest.mark.parametrize("thing", ["link", "file"])
def test_what_is_in_the_way_is_refused_and_never_followed(tmp_path: Path, thing: str) -> None:
    """An agent that may write in a folder may put a link there, where another agent's grant is."""
    outside = tmp_path / "outside"
    outside.mkdir()
    data = tmp_path / "data"

    def work() -> None:
        volumes = Volumes(data)
        volumes.prepare([], ["/data/a"])
        if thing == "link":
            (data / "a" / "b").symlink_to(outside)
        else:
            (data / "a" / "b").write_text("x")
        for path in ("/data/a/b", "/data/a/b/c"):
            with pytest.raises(NullBoxError, match=path) as caught:
                volumes.prepare([], [path])
            assert caught.value.code is ErrorCode.UNAVAILABLE
        assert list(outside.iterdir()) == []
        assert mode(outside) == 0o755

    in_memory(data, work)


def test_a_folder_that_an_agent_made_keeps_its_owner_and_mode(tmp_path: Path) -> None:
    def work() -> None:
        volumes = Volumes(tmp_path)
        volumes.prepare([], ["/data/a"])
        (tmp_path / "a" / "theirs").mkdir(mode=0o700)
        os.chown(tmp_path / "a" / "theirs", 12345, 12345)
        volumes.prepare([], ["/data/a/theirs"])
        found = (tmp_path / "a" / "theirs").stat()
        assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (12345, 0o2700)

    in_memory(tmp_path, work)


MOUNTINFO = """
23 28 0:21 / /proc rw,nosuid shared:12 - proc proc rw
40 28 0:37 / /var rw,relatime - tmpfs tmpfs rw,size=100k
41 28 254:1 / /mnt/a\\040b rw shared:3 master:1 - ext4 /dev/vdb rw,prjquota
"""


@pytest.mark.parametrize(
    ("device", "found"),
    [((0, 37), ("tmpfs", ["rw", "size=100k"])), ((254, 1), ("ext4", ["rw", "prjquota"])), ((9, 9), ("", []))],
)
def test_the_kind_of_a_file_system_and_its_options(device: tuple[int, int], found: tuple[str, list[str]]) -> None:
    assert mounts.file_system_of_device(MOUNTINFO.strip(), os.makedev(*device)) == found


def test_on_a_disk_nothing_is_hidden_and_nothing_is_mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "file_system_of", lambda path: ("ext4", ["rw"]))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "fact").write_text("x")
    Volumes(tmp_path).prepare(["/data/in"], ["/data/out"])
    assert (tmp_path / "in" / "fact").read_text() == "x"
    assert mode(tmp_path / "out") == 0o2770
    assert not any(mounts.is_mount_point(str(path)) for path in tmp_path.iterdir())


class Projects:
    """Stands for a file system with project quotas: the projects of folders by their inode, and the limits set."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.of: dict[int, int] = {}
        self.limits: dict[int, tuple[int, int]] = {}
        patch.setattr(mounts, "file_system_of", lambda path: ("ext4", ["rw", "prjquota"]))
        patch.setattr(quota, "project_of", lambda folder: self.of.get(os.fstat(folder).st_ino, 0))
        patch.setattr(quota, "assign", lambda folder, project: self.of.update({os.fstat(folder).st_ino: project}))
        patch.setattr(quota, "limit", lambda folder, project, *limits: self.limits.update({project: limits}))


def test_on_a_disk_with_quotas_each_volume_can_use_a_quarter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    projects = Projects(monkeypatch)
    Volumes(tmp_path).prepare(["/data/in/de"], ["/data/out", "/data/more/x"])
    numbers = {name: projects.of[(tmp_path / name).stat().st_ino] for name in ("in", "out", "more")}
    assert sorted(numbers.values()) == [quota.FIRST, quota.FIRST + 1, quota.FIRST + 2]
    disk = os.statvfs(tmp_path)
    quarter = (disk.f_blocks * disk.f_frsize // 1024 // 4, disk.f_files // 4)
    assert projects.limits == dict.fromkeys(numbers.values(), quarter)
    Volumes(tmp_path).prepare([], ["/data/out", "/data/last"])
    assert projects.of[(tmp_path / "out").stat().st_ino] == numbers["out"]
    assert projects.of[(tmp_path / "last").stat().st_ino] == quota.FIRST + 3


def test_a_quota_that_cannot_be_set_is_a_start_that_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Projects(monkeypatch)

    def fails(folder: int, project: int, kib: int, inodes: int) -> None:
        raise OSError(errno.ESRCH, "No such process")

    monkeypatch.setattr(quota, "limit", fails)
    with pytest.raises(NullBoxError) as caught:
        Volumes(tmp_path).prepare([], ["/data/out"])
    assert caught.value.code is ErrorCode.UNAVAILABLE

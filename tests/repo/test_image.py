"""The finished image keeps its rules: judged from the SquashFS file itself, not from what the build meant to write."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from image import audit, squash, verity
from image.audit import Listed
from image.contents import GUEST, HOST_MOUNT_POINTS, MAX_BYTES
from nullbox.bootstrap.mounts import MOUNTS
from nullbox.host import verified
from nullbox.host.verified import BLOCK

BUILD = Path(__file__).resolve().parents[2] / "build"
IMAGE = BUILD / "root.squashfs"

pytestmark = pytest.mark.skipif(not IMAGE.is_file(), reason="no build/root.squashfs: `make image` builds it")


@pytest.fixture(scope="module")
def listing() -> list[Listed]:
    return squash.listing(IMAGE)


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image") / "root"
    squash.unpack(IMAGE, folder)
    return folder


def origins() -> dict[str, str]:
    return {row["path"]: row["origin"] for row in json.loads((BUILD / "image" / "manifest.json").read_text())}


def test_every_path_has_an_origin_and_breaks_no_rule(listing: list[Listed], unpacked: Path) -> None:
    assert audit.violations(listing, origins(), squash.elves(unpacked)) == []


def test_nothing_that_the_build_listed_is_missing(listing: list[Listed]) -> None:
    assert set(origins()) == {row.path for row in listing}


def test_there_is_no_shell_under_any_name(unpacked: Path) -> None:
    programs = [
        path
        for path in unpacked.rglob("*")
        if path.is_file() and not path.is_symlink() and path.stat().st_mode & 0o111 and ".so" not in path.name
    ]
    assert sorted(str(path.relative_to(unpacked)) for path in programs) == [
        f"{GUEST}/usr/bin/python3.13",
        "usr/bin/python3.13",
        "usr/sbin/e2fsck",
        "usr/sbin/init",
        "usr/sbin/mke2fs",
    ]


def test_no_shared_object_comes_from_anywhere_but_a_package(unpacked: Path) -> None:
    known = origins()
    for elf in squash.elves(unpacked):
        assert known[elf.path].startswith(("debian:", "pypi:")), elf.path


def test_mount_points_are_empty_and_there(listing: list[Listed]) -> None:
    by_path = {row.path: row for row in listing}
    for name in HOST_MOUNT_POINTS:
        assert stat.S_ISDIR(by_path[name].mode)
        assert not any(path.startswith(f"{name}/") for path in by_path)


def test_no_file_has_extended_attributes_and_so_none_has_capabilities() -> None:
    """SquashFS 4.0: `xattr_id_table_start`, at byte 56 of the superblock, is all ones when there is no such table."""
    with IMAGE.open("rb") as file:
        superblock = file.read(96)
    assert superblock[:4] == b"hsqs"
    assert superblock[56:64] == b"\xff" * 8


def test_what_is_mounted_is_mounted_on_folders_that_are_there(listing: list[Listed]) -> None:
    """So no path of the root is writable that the mount table does not name: everything else is the verified device."""
    by_path = {row.path: row for row in listing}
    for mount in MOUNTS:
        top = mount.target.split("/")[1]
        assert top in HOST_MOUNT_POINTS, f"{mount.target} lies in no mount point of image.contents"
        assert stat.S_ISDIR(by_path[top].mode)


def test_the_hash_tree_behind_the_image_is_the_one_of_its_description() -> None:
    described = verified.read(IMAGE)
    content = IMAGE.read_bytes()
    data = content[: described.data_blocks * BLOCK]
    hashes, root = verity.tree(data)
    assert root == described.root_hash
    assert content[len(data) :] == hashes


def test_size() -> None:
    assert IMAGE.stat().st_size <= MAX_BYTES


def test_times_are_all_the_epoch(unpacked: Path) -> None:
    assert {int(path.lstat().st_mtime) for path in unpacked.rglob("*") if not path.is_symlink()} == {0}


def test_there_is_no_trace_of_the_crash_injection(unpacked: Path) -> None:
    """Fail points are for the hosted mode and the tests: no file of them, and no file that speaks of them."""
    files = [path for path in unpacked.rglob("*") if path.is_file() and not path.is_symlink()]
    assert [path for path in files if "nullbox/chaos" in str(path.relative_to(unpacked))] == []
    traces = (b"nullbox.chaos", b"nullbox/chaos", b"InjectedFault")
    assert [path for path in files if any(trace in path.read_bytes() for trace in traces)] == []

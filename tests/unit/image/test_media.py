"""What the tools print, and files written into disks."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from image import media, squash
from image.squash import ToolError

REPORT = """Report layout: xt , Startlba ,   Blocks , Filesize , ISO image path
File data lba:  0 ,       36 ,    11419 , 23384064 , '/root.img'
File data lba:  0 ,    11455 ,     3584 ,  7340032 , '/esp.img'
"""


def test_extents_are_read_from_the_report() -> None:
    assert media.parse_extents(REPORT) == {"root.img": (36 * 2048, 23384064), "esp.img": (11455 * 2048, 7340032)}


def test_a_file_in_pieces_is_refused() -> None:
    with pytest.raises(ToolError, match="pieces"):
        media.parse_extents(REPORT + "File data lba:  1 ,    20000 ,     3584 ,  7340032 , '/esp.img'\n")


def test_a_disk_has_its_pieces_and_files_in_place_and_is_sparse(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x" * 70000 + bytes(1 << 20) + b"y")
    disk = tmp_path / "disk"
    media.write_disk(disk, 32768, [(0, b"head"), (32767 * 512, b"tail".ljust(512, b"\0"))], [(1 << 20, file)])
    content = disk.read_bytes()
    assert len(content) == 32768 * 512
    assert content[:4] == b"head"
    assert content[32767 * 512 :][:4] == b"tail"
    assert content[1 << 20 :][: file.stat().st_size] == file.read_bytes()
    assert disk.stat().st_blocks * 512 < 2 << 20


@pytest.mark.parametrize("size", [8 << 20, 48 << 20])
def test_a_fat_file_system_has_the_program_where_firmware_looks(size: int, tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(os.urandom(100_000))
    media.fat(tmp_path / "esp", size, "0123abcd", program)
    squash.run(["fsck.fat", "-n", str(tmp_path / "esp")])
    squash.run(["mcopy", "-i", str(tmp_path / "esp"), f"::{media.BOOT_FILE}", str(tmp_path / "back")])
    assert (tmp_path / "back").read_bytes() == program.read_bytes()


def test_an_iso_has_its_files_in_order_and_room_for_a_partition_table(tmp_path: Path) -> None:
    files = {}
    for name, size in (("root.img", 40960), ("esp.img", 1 << 20), ("cd.img", 1 << 20)):
        files[name] = tmp_path / f"of-{name}"
        files[name].write_bytes(os.urandom(size))
    media.iso(tmp_path / "iso", files, "cd.img", "TEST")
    found = media.extents(tmp_path / "iso")
    content = (tmp_path / "iso").read_bytes()
    assert content[:32768] == bytes(32768)
    for name, path in files.items():
        start, size = found[name]
        assert content[start : start + size] == path.read_bytes()
    assert found["root.img"] < found["esp.img"] < found["cd.img"]

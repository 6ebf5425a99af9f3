"""The partition table, read back by a parser of its own and by the tools of the host."""

from __future__ import annotations

import struct
import subprocess
import uuid
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.host import gpt, state_disk
from nullbox.host.gpt import Partition

DISK = uuid.UUID(int=7)
SECTORS = 64 * 2048


def test_both_headers_point_at_each_other_and_their_checksums_fit() -> None:
    pieces = dict(gpt.table(SECTORS, [gpt.whole_disk("STATE", SECTORS, uuid.UUID(int=1))], DISK))
    for here, other in ((1, SECTORS - 1), (SECTORS - 1, 1)):
        header = pieces[here * gpt.SECTOR]
        assert len(header) == gpt.SECTOR
        checksum = struct.unpack_from("<I", header, 16)[0]
        assert zlib.crc32(header[:16] + b"\0\0\0\0" + header[20:92]) == checksum
        assert struct.unpack_from("<QQ", header, 24) == (here, other)
        table_at, entries, size, crc = struct.unpack_from("<QIII", header, 72)
        assert zlib.crc32(pieces[table_at * gpt.SECTOR]) == crc
        assert entries * size == len(pieces[table_at * gpt.SECTOR])


def test_a_whole_disk_partition_is_aligned_and_named() -> None:
    partition = gpt.whole_disk("STATE", SECTORS, uuid.UUID(int=1))
    assert partition.offset % (1 << 20) == 0
    assert partition.size % 4096 == 0
    pieces = dict(gpt.table(SECTORS, [partition], DISK))
    entry = pieces[2 * gpt.SECTOR][:128]
    assert entry[56:].decode("utf-16-le").rstrip("\0") == "STATE"
    assert struct.unpack_from("<QQ", entry, 32) == (partition.first, partition.last)


@pytest.mark.parametrize(
    "partitions",
    [
        [Partition("A", 2048, 4095), Partition("B", 4095, 5000)],
        [Partition("A", 10, 5000)],
        [Partition("A", 2048, SECTORS - 1)],
        [Partition("A", 5000, 4000)],
        [Partition("x" * 37, 2048, 4095)],
    ],
)
def test_what_does_not_fit_is_refused(partitions: list[Partition]) -> None:
    with pytest.raises(ValueError, match=r"partition|label"):
        list(gpt.table(SECTORS, partitions, DISK))


@given(st.integers(0, 4 * 2048))
def test_a_disk_has_room_or_it_is_said(sectors: int) -> None:
    try:
        partition = gpt.whole_disk("STATE", sectors, uuid.UUID(int=1))
    except ValueError:
        return
    for offset, content in gpt.table(sectors, [partition], DISK):
        assert offset >= 0 and offset + len(content) <= sectors * gpt.SECTOR
        assert offset + len(content) <= partition.offset or offset >= partition.offset + partition.size


def test_the_hosts_own_tools_see_the_partition(tmp_path: Path) -> None:
    disk = tmp_path / "state.img"
    assert state_disk.ensure(disk, 64)
    argv = ["partx", "--show", "-o", "START,NAME", str(disk)]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["START", "NAME", "2048", "STATE"]


def test_a_disk_that_is_there_is_left_alone(tmp_path: Path) -> None:
    disk = tmp_path / "state.img"
    disk.write_bytes(b"mine")
    assert not state_disk.ensure(disk)
    assert disk.read_bytes() == b"mine"
    with pytest.raises(ValueError, match="at least 32"):
        state_disk.create(tmp_path / "small", 8)

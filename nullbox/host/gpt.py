"""A GUID partition table, as the bytes of a disk (pure): for the data disk of a virtual machine and for disk images.

Source: UEFI Specification 2.10, chapter 5 (GUID Partition Table Disk Layout).
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

SECTOR: Final = 512
ENTRIES: Final = 128
ENTRY_SIZE: Final = 128
TABLE_SECTORS: Final = ENTRIES * ENTRY_SIZE // SECTOR
ALIGNMENT: Final = 2048
"""Sectors: partitions begin at multiples of 1 MiB, which suits every disk's own block size."""
FIRST_USABLE: Final = 2 + TABLE_SECTORS

NIL: Final = uuid.UUID(int=0)
LINUX_DATA: Final = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
EFI_SYSTEM: Final = uuid.UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")


@dataclass(frozen=True, slots=True)
class Partition:
    """label: at most 36 characters (UTF-16 units). first, last: sectors, both inclusive."""

    label: str
    first: int
    last: int
    kind: uuid.UUID = LINUX_DATA
    identity: uuid.UUID = NIL

    @property
    def offset(self) -> int:
        """Where it begins, in bytes."""
        return self.first * SECTOR

    @property
    def size(self) -> int:
        """In bytes."""
        return (self.last - self.first + 1) * SECTOR


def last_usable(sectors: int) -> int:
    """The last sector that a partition of a disk of this many sectors may have."""
    return sectors - TABLE_SECTORS - 2


def whole_disk(label: str, sectors: int, identity: uuid.UUID) -> Partition:
    """One partition that has all of the disk.

    Raises:
        ValueError: there is no room for it.
    """
    last = (last_usable(sectors) + 1) // 8 * 8 - 1  # whole blocks of 4 KiB
    if last < ALIGNMENT:
        raise ValueError(f"a disk of {sectors} sectors has no room for a partition; at least 2 MiB are needed")
    return Partition(label, ALIGNMENT, last, identity=identity)


def table(sectors: int, partitions: Sequence[Partition], disk: uuid.UUID) -> Iterator[tuple[int, bytes]]:
    """The pieces of a partition table as (offset in bytes, content): protective MBR, both headers, both tables.

    Raises:
        ValueError: a partition lies outside of the disk or over another one, or its label is too long.
    """
    _check(sectors, partitions)
    entries = b"".join(_entry(partition) for partition in partitions).ljust(ENTRIES * ENTRY_SIZE, b"\0")
    backup_table = sectors - 1 - TABLE_SECTORS
    yield 0, _protective_mbr(sectors)
    yield SECTOR, _header(sectors, 1, sectors - 1, 2, entries, disk)
    yield 2 * SECTOR, entries
    yield backup_table * SECTOR, entries
    yield (sectors - 1) * SECTOR, _header(sectors, sectors - 1, 1, backup_table, entries, disk)


def _check(sectors: int, partitions: Sequence[Partition]) -> None:
    end = FIRST_USABLE - 1
    for partition in sorted(partitions, key=lambda each: each.first):
        if partition.first <= end or not partition.first <= partition.last <= last_usable(sectors):
            raise ValueError(
                f"partition {partition.label}: sectors {partition.first} to {partition.last} are not free; "
                f"free are {end + 1} to {last_usable(sectors)}"
            )
        end = partition.last
    if len(partitions) > ENTRIES:
        raise ValueError(f"{len(partitions)} partitions; at most {ENTRIES}")


def _entry(partition: Partition) -> bytes:
    name = partition.label.encode("utf-16-le")
    if len(name) > 72:
        raise ValueError(f"label {partition.label!r} is longer than 36 characters")
    body = struct.pack(
        "<16s16sQQQ", partition.kind.bytes_le, partition.identity.bytes_le, partition.first, partition.last, 0
    )
    return body + name.ljust(72, b"\0")


def _header(sectors: int, here: int, other: int, entries_at: int, entries: bytes, disk: uuid.UUID) -> bytes:
    def fields(checksum: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII",
            b"EFI PART",
            0x00010000,
            92,
            checksum,
            0,
            here,
            other,
            FIRST_USABLE,
            last_usable(sectors),
            disk.bytes_le,
            entries_at,
            ENTRIES,
            ENTRY_SIZE,
            zlib.crc32(entries),
        )

    return fields(zlib.crc32(fields(0))).ljust(SECTOR, b"\0")


def _protective_mbr(sectors: int) -> bytes:
    """One partition of type 0xEE over the disk, so that tools that know no GPT leave it alone."""
    entry = struct.pack("<B3sB3sII", 0, b"\x00\x02\x00", 0xEE, b"\xff\xff\xff", 1, min(sectors - 1, 0xFFFFFFFF))
    return (b"\0" * 446 + entry).ljust(510, b"\0") + b"\x55\xaa"

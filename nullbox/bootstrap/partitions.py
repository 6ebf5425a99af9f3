"""Finding a partition by the label in its disk's GPT, and what the first bytes of it say (pure).

Sources: Documentation/ABI/testing/sysfs-block and the uevents of the kernel (PARTNAME is the GPT's label, since
block/genhd.c); UEFI Specification 2.10, 5.3.3; Documentation/filesystems/ext4/super.rst.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Final

STATE_LABEL: Final = "STATE"

PROBE: Final = 68 * 1024
"""Bytes at the beginning of a partition that `content` wants to see: up to btrfs's magic, the one farthest in."""

SUPERBLOCK: Final = 1024
"""Where ext4 keeps its superblock; what lies before it is nobody's."""

EXT_MAGIC: Final = (SUPERBLOCK + 56, b"\x53\xef")

EXT_FEATURES: Final = SUPERBLOCK + 0x64
"""Where the features are that a kernel has to know for writing, 32 bits, little-endian."""
QUOTA, PROJECT = 0x100, 0x2000

FOREIGN: Final = (
    ("XFS", 0, b"XFSB"),
    ("LUKS", 0, b"LUKS"),
    ("SquashFS", 0, b"hsqs"),
    ("LVM", 512, b"LABELONE"),
    ("RAID", 4096, b"\xfc\x4e\x2b\xa9"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("swap", 4086, b"SWAP-SPACE"),
    ("btrfs", 65600, b"_BHRfS_M"),
)
"""What else may be found: name, offset, magic."""


class Content(Enum):
    """What a partition holds."""

    EMPTY = "empty"
    EXT4 = "ext4"
    FOREIGN = "foreign"


def content(head: bytes) -> tuple[Content, str]:
    """What the first `PROBE` bytes say, and that in words.

    Empty is what begins with nothing but zeros up to the end of where a superblock would be, and has none of the
    signatures farther in. So a partition on which the making of a file system was cut off counts as empty: mke2fs
    writes the superblock last.
    """
    offset, magic = EXT_MAGIC
    if head[offset : offset + len(magic)] == magic:
        return Content.EXT4, "ext4"
    for name, offset, magic in FOREIGN:
        if head[offset : offset + len(magic)] == magic:
            return Content.FOREIGN, name
    if any(head[: 2 * SUPERBLOCK]):
        return Content.FOREIGN, "something that is not known here"
    return Content.EMPTY, "nothing"


def has_quotas(head: bytes) -> bool:
    """Whether the ext4 with those first bytes was made for project quotas."""
    features = int.from_bytes(head[EXT_FEATURES : EXT_FEATURES + 4], "little")
    return features & (QUOTA | PROJECT) == QUOTA | PROJECT


def parse_uevent(text: str) -> dict[str, str]:
    """`NAME=value` lines of a `uevent` file; other lines are left out."""
    pairs = (line.partition("=") for line in text.splitlines())
    return {name: value for name, equals, value in pairs if equals}


def labelled(label: str, uevents: Mapping[str, str]) -> list[str]:
    """Device names (`vdb1`) of all partitions with that label, sorted.

    uevents: name below /sys/class/block → content of its `uevent` file.
    """
    found = []
    for name, text in uevents.items():
        event = parse_uevent(text)
        if event.get("DEVTYPE") == "partition" and event.get("PARTNAME") == label:
            found.append(event.get("DEVNAME", name))
    return sorted(found)

"""The layout of the boot artefacts (pure): partitions of the disk image and of the ISO, names and GUIDs.

Everything that could be random is made from the root hash: equal roots give equal disks, and another root's partitions
have other GUIDs, so that a kernel never takes the root of an older image that lies on another disk.

Source: UEFI Specification 2.10, chapters 5 and 13.3; Discoverable Partitions Specification for the types.
"""

from __future__ import annotations

import uuid

from nullbox.host import gpt, verified
from nullbox.host.gpt import Partition
from nullbox.host.verified import VerifiedRoot

MIB = 1 << 20
ROOT_X86_64 = uuid.UUID("4f68bce3-e8cd-4db1-96e7-fbcaf984b709")
NAMESPACE = uuid.UUID("d5b4d6b0-9b1c-5c7f-8b1a-0e5c3f0a7e21")

ESP, ROOT_A, ROOT_B, STATE = "ESP", "ROOT-A", "ROOT-B", "STATE"
ESP_MIB = 48
"""The least that FAT32 takes, and room for a second kernel beside the first when a system is updated."""
ROOT_MIB = 64
STATE_MIB = 256
"""The partition of the image; its file system is made at first boot."""

SIZES = (
    (ESP, gpt.EFI_SYSTEM, ESP_MIB),
    (ROOT_A, ROOT_X86_64, ROOT_MIB),
    (ROOT_B, ROOT_X86_64, ROOT_MIB),
    (STATE, gpt.LINUX_DATA, STATE_MIB),
)
"""Label, type and size in MiB of the partitions of the disk image, in order."""


def identity(root: VerifiedRoot, name: str) -> uuid.UUID:
    """The GUID of a disk or partition of this name."""
    if name == ROOT_A:
        return uuid.UUID(verified.partition_id(root))
    return uuid.uuid5(NAMESPACE, f"{root.root_hash} {name}")


def volume_serial(root: VerifiedRoot, name: str) -> str:
    """The serial number of a FAT file system: 8 hex digits."""
    return identity(root, f"fat {name}").hex[:8]


def partitions(root: VerifiedRoot) -> list[Partition]:
    """The partitions of the disk image: firmware's, two for roots, of which the second is empty, and the state."""
    found = []
    start = gpt.ALIGNMENT
    for label, kind, mib in SIZES:
        end = start + mib * MIB // gpt.SECTOR
        found.append(Partition(label, start, end - 1, kind, identity(root, label)))
        start = end
    return found


def sectors() -> int:
    """The size of the disk image: all partitions, and 1 MiB before and behind them for the tables."""
    return sum(mib for _, _, mib in SIZES) * MIB // gpt.SECTOR + 2 * gpt.ALIGNMENT


def iso_partitions(root: VerifiedRoot, extents: dict[str, tuple[int, int]]) -> list[Partition]:
    """The same for an ISO image on a USB stick: its files, seen as partitions.

    extents: label → (first byte, size in bytes) of the file.
    """
    kinds = {label: kind for label, kind, _ in SIZES}
    found = []
    for label, (start, size) in sorted(extents.items(), key=lambda item: item[1]):
        first, last = start // gpt.SECTOR, (start + size) // gpt.SECTOR - 1
        if start % gpt.SECTOR or size % gpt.SECTOR:
            raise ValueError(f"{label} lies at {start} with {size} bytes, not on whole sectors")
        found.append(Partition(label, first, last, kinds[label], identity(root, label)))
    return found

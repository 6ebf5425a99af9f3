"""The verified root: what the kernel is told so that it opens the root through dm-verity, without an initramfs (pure).

The image's file is a SquashFS followed by the hash tree that `image.verity` made. Beside it lies a small text with the
root hash, from which every boot artefact's command line is made: whoever has that hash from a source that he trusts (a
signed file, or the command line of his own QEMU) can trust every block of the root.

Sources: Documentation/admin-guide/device-mapper/verity.rst and dm-init.rst, and
Documentation/admin-guide/kernel-parameters.txt of Linux.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal, get_args

BLOCK: Final = 4096
"""Bytes of a block of the root and of the hash tree."""
SECTOR: Final = 512

OnCorruption = Literal["panic", "restart"]
"""What the kernel does about a block whose hash is wrong: stop (what `panic=` says happens then) or start anew."""


class VerifiedRootError(Exception):
    """The text beside an image is missing or not understood; the message says which file, and what to do."""


@dataclass(frozen=True)
class VerifiedRoot:
    """An image with a hash tree. data_blocks: of `BLOCK` bytes; the tree lies behind them. root_hash: SHA-256, hex."""

    data_blocks: int
    root_hash: str
    on_corruption: OnCorruption = "panic"

    def to_json(self) -> str:
        return json.dumps(asdict(self)) + "\n"


def from_json(text: str) -> VerifiedRoot:
    """Read what `to_json` wrote; raises `VerifiedRootError`. Nothing in it can end an argument of the command line."""
    try:
        raw = json.loads(text)
        root = VerifiedRoot(int(raw["data_blocks"]), str(raw["root_hash"]), raw["on_corruption"])
    except (ValueError, KeyError, TypeError) as error:
        raise VerifiedRootError(f"not the description of a verified root: {error!r}") from None
    if root.data_blocks < 1 or not re.fullmatch("[0-9a-f]{64}", root.root_hash):
        raise VerifiedRootError(f"not the description of a verified root: {text.strip()[:200]!r}")
    if root.on_corruption not in get_args(OnCorruption):
        raise VerifiedRootError(f"on_corruption is {root.on_corruption!r}; known: {', '.join(get_args(OnCorruption))}")
    return root


def beside(image: Path) -> Path:
    """Where the description of an image is kept."""
    return image.with_name(image.name + ".verity")


def read(image: Path) -> VerifiedRoot:
    """The description of an image (reads a file)."""
    path = beside(image)
    try:
        return from_json(path.read_text())
    except FileNotFoundError:
        raise VerifiedRootError(f"{path} is not there; `make image` writes it") from None


def partition_id(root: VerifiedRoot) -> str:
    """The GUID of the partition that holds this root: the first half of its hash, so each image looks for its own."""
    digits = root.root_hash[:32]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def arguments(
    root: VerifiedRoot, device: str, *, image_bytes: int = 0, offset: int = 0, wait: bool = False
) -> tuple[str, ...]:
    """Kernel arguments that make the verified device and mount it as the root.

    device: `/dev/NAME` or `PARTUUID=…`. offset: where on it the image begins, in bytes; then `image_bytes` is the size
    of SquashFS and tree together. wait: for a device that appears late, as those on USB do.
    """
    options = f"1 {root.on_corruption}_on_corruption"
    size = root.data_blocks * BLOCK // SECTOR
    tables = []
    if offset:
        if offset % SECTOR or image_bytes % SECTOR or image_bytes < root.data_blocks * BLOCK:
            raise ValueError(f"an image of {image_bytes} bytes at {offset} does not lie on whole sectors")
        tables.append(f"image,,,ro,0 {image_bytes // SECTOR} linear {device} {offset // SECTOR}")
    below = "/dev/dm-0" if offset else device
    tree = f"{BLOCK} {BLOCK} {root.data_blocks} {root.data_blocks} sha256 {root.root_hash} -"
    tables.append(f"root,,,ro,0 {size} verity 1 {below} {below} {tree} {options}")
    return (
        f'dm-mod.create="{";".join(tables)}"',
        *((f"dm-mod.waitfor={device}",) if wait else ()),
        f"root=/dev/dm-{len(tables) - 1}",
    )

"""The hash tree of dm-verity, format version 1, appended to an image (pure, but for `seal`).

Blocks of 4096 bytes, SHA-256, no salt, no superblock: the table on the kernel's command line says everything. A salt
would keep two images from sharing hashes, which nothing here gains from, and the same tree must give the same bytes.

Source: Documentation/admin-guide/device-mapper/verity.rst of Linux; `veritysetup` is the test's second opinion.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from nullbox.host.verified import BLOCK, OnCorruption, VerifiedRoot

DIGEST = 32
PER_BLOCK = BLOCK // DIGEST


def level_above(blocks: Sequence[bytes]) -> list[bytes]:
    """The hash blocks over these blocks: their digests in order, the last block filled up with zeros."""
    digests = [hashlib.sha256(block).digest() for block in blocks]
    return [
        b"".join(digests[start : start + PER_BLOCK]).ljust(BLOCK, b"\0") for start in range(0, len(digests), PER_BLOCK)
    ]


def tree(data: bytes) -> tuple[bytes, str]:
    """The hash tree over data of whole blocks, its top first as dm-verity reads it, and the root hash in hex.

    One block has no tree: its own digest is the root hash.
    """
    if not data or len(data) % BLOCK:
        raise ValueError(f"{len(data)} bytes are not a whole number of blocks of {BLOCK}, and at least one")
    level = [data[start : start + BLOCK] for start in range(0, len(data), BLOCK)]
    above: list[bytes] = []
    while len(level) > 1:
        level = level_above(level)
        above = level + above
    return b"".join(above), hashlib.sha256(level[0]).hexdigest()


def seal(image: Path, on_corruption: OnCorruption = "panic") -> VerifiedRoot:
    """Fill the file up to whole blocks and append the tree (edge: writes to the file); call it once per file."""
    data = image.read_bytes()
    data += bytes(-len(data) % BLOCK)
    hashes, root_hash = tree(data)
    scratch = image.with_name(image.name + ".sealed")
    scratch.write_bytes(data + hashes)
    scratch.replace(image)
    return VerifiedRoot(len(data) // BLOCK, root_hash, on_corruption)

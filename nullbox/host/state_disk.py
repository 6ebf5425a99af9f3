"""The data disk of a virtual machine: a sparse file with one partition of the label STATE (edge: files).

The machine makes the file system itself when it first sees the empty partition; see docs/design/state.md.
"""

from __future__ import annotations

import os
import uuid
from pathlib import Path
from typing import Final

from nullbox.host import gpt

LABEL: Final = "STATE"
DEFAULT_MIB: Final = 1024
LEAST_MIB: Final = 32


def create(path: Path, mib: int = DEFAULT_MIB) -> None:
    """Make the file, with a partition table and nothing in the partition.

    Raises:
        ValueError: it would be too small.
        FileExistsError: there is such a file: what is on it is never overwritten.
    """
    if mib < LEAST_MIB:
        raise ValueError(f"a state disk of {mib} MiB is too small; at least {LEAST_MIB}")
    sectors = mib * (1 << 20) // gpt.SECTOR
    partition = gpt.whole_disk(LABEL, sectors, uuid.uuid4())
    path.parent.mkdir(parents=True, exist_ok=True)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.ftruncate(fd, mib << 20)
        for offset, content in gpt.table(sectors, [partition], uuid.uuid4()):
            os.pwrite(fd, content, offset)
        os.fsync(fd)
    finally:
        os.close(fd)


def ensure(path: Path, mib: int = DEFAULT_MIB) -> bool:
    """The same, unless the file is there. Returns whether it was made."""
    try:
        create(path, mib)
    except FileExistsError:
        return False
    return True

"""What every process of a system under test looks at: one armed fault, and who passed where. A shared file.

An edge module (mmap). One fault is armed at a time; the process that passes the armed point takes it. Counters are
for coverage: two processes that count at once may lose one, which is no matter.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple

ARMED = struct.Struct("<IHBBIId")
"""generation (0: nothing armed), point, when, fault, passes to let go by, pid that took it (0: nobody), when (the
monotonic clock, which all processes share)."""
COUNTERS = 64
SIZE = 4096


class When(IntEnum):
    BEFORE = 0
    AFTER = 1


class Armed(NamedTuple):
    generation: int
    point: int
    when: int
    fault: int
    skip: int
    taken_by: int
    taken_at: float


class Board:
    """The shared page. `path` is made when it does not exist."""

    def __init__(self, path: Path) -> None:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(fd, SIZE)
            self._map = mmap.mmap(fd, SIZE)
        finally:
            os.close(fd)

    def armed(self) -> Armed:
        return Armed(*ARMED.unpack_from(self._map, 0))

    def arm(self, point: int, when: When, fault: int, skip: int = 0) -> None:
        """The next process that passes there, after `skip` others, fails."""
        generation = self.armed().generation + 1
        ARMED.pack_into(self._map, 0, generation, point, when, fault, skip, 0, 0.0)

    def disarm(self) -> None:
        before = self.armed()
        ARMED.pack_into(self._map, 0, before.generation, 0, 0, 0, 0, before.taken_by, before.taken_at)

    def taken(self) -> bool:
        """Whether the fault armed last has happened."""
        return self.armed().taken_by != 0

    def passing(self, point: int, when: When) -> int:
        """Count a pass. Returns the fault to commit, 0 for none."""
        offset = COUNTERS + 8 * point + 4 * when
        (count,) = struct.unpack_from("<I", self._map, offset)
        struct.pack_into("<I", self._map, offset, (count + 1) & 0xFFFFFFFF)
        armed = self.armed()
        if armed.fault == 0 or armed.point != point or armed.when != when or armed.taken_by:
            return 0
        if armed.skip:
            ARMED.pack_into(self._map, 0, *armed._replace(skip=armed.skip - 1))
            return 0
        ARMED.pack_into(self._map, 0, *armed._replace(taken_by=os.getpid(), taken_at=time.monotonic()))
        return armed.fault

    def passes(self, point: int, when: When) -> int:
        return int(struct.unpack_from("<I", self._map, COUNTERS + 8 * point + 4 * when)[0])

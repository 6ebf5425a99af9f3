"""Effects: block devices: which there are, their first bytes, their size, emptying one, programs that work on one.

Sources: mount(2), umount(2), Documentation/ABI/stable/sysfs-block, BLKDISCARD of linux/fs.h.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import struct
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

BLKDISCARD: Final = 0x1277
WIPED: Final = 1 << 20
"""Bytes at the beginning that are overwritten: every signature of `partitions`, and ext4's first descriptors."""

MOST_OUTPUT: Final = 4096
"""Bytes that are kept of what a program says."""
NOT_STARTED: Final = 127
TOO_LONG: Final = 124


def uevents(sys: Path = Path("/sys")) -> dict[str, str]:
    """Name of every block device and partition → its `uevent` file. One that vanishes meanwhile is left out."""
    found = {}
    for entry in sorted((sys / "class/block").glob("*")):
        with contextlib.suppress(OSError):
            found[entry.name] = (entry / "uevent").read_text(errors="replace")
    return found


def size(device: str, sys: Path = Path("/sys")) -> int:
    """In bytes; sysfs counts in sectors of 512, whatever the disk's own."""
    return int((sys / "class/block" / device / "size").read_text()) * 512


def read(path: str, length: int) -> bytes:
    """The first bytes of a device."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.read(fd, length)
    finally:
        os.close(fd)


def wipe(path: str) -> None:
    """Empty a device: tell it that nothing on it is needed, if it can be told, and overwrite its beginning."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC | os.O_EXCL)
    try:
        length = os.lseek(fd, 0, os.SEEK_END)
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, BLKDISCARD, struct.pack("QQ", 0, length))
        os.pwrite(fd, bytes(min(WIPED, length)), 0)
        os.fsync(fd)
    finally:
        os.close(fd)


def run(argv: Sequence[str], seconds: float) -> tuple[int, str]:
    """Run a program of the image to its end. Returns its exit status (128 + signal for one that was killed) and the end
    of what it said; `TOO_LONG` for one that had to be stopped.

    Raises:
        OSError: it could not be started.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1), (os.POSIX_SPAWN_DUP2, writer, 2)]
    try:
        pid = os.posix_spawn(argv[0], list(argv), {"LC_ALL": "C"}, file_actions=actions)
    except OSError:
        os.close(reader)
        raise
    finally:
        os.close(writer)
    said, killed = _listen(reader, pid, time.monotonic() + seconds)
    os.close(reader)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    text = " ".join(said.decode(errors="replace").split())
    return (TOO_LONG if killed else code if code >= 0 else 128 - code), text


def _listen(reader: int, pid: int, deadline: float) -> tuple[bytes, bool]:
    said = b""
    while True:
        ready, _, _ = select.select([reader], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            os.kill(pid, signal.SIGKILL)
            return said, True
        chunk = os.read(reader, MOST_OUTPUT)
        if not chunk:
            return said, False
        said = (said + chunk)[-MOST_OUTPUT:]

"""A folder of a disk with a size of its own: project quotas (edge module: ioctl, quotactl_fd(2)).

Every file carries the number of a project. A folder with the inherit flag hands its own down to whatever is made in
it, and the file system keeps count of each project and refuses what goes beyond its limits (EDQUOT). Number 0 is that
of all else, and has no limit. The owner of a file may change its number: that call is refused to a VMM (`seccomp`).

Sources: quotactl(2), xfsctl(3) and linux/fs.h (struct fsxattr), linux/quota.h (struct if_dqblk),
Documentation/admin-guide/ext4.rst (prjquota).
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import struct
from pathlib import Path

FS_IOC_FSGETXATTR, FS_IOC_FSSETXATTR = 0x801C581F, 0x401C5820
FS_XFLAG_PROJINHERIT = 0x200
XATTR = struct.Struct("=IIIII8x")
"""Flags, extent size, number of extents, project, size of copied extents."""

SYS_QUOTACTL_FD = 443
Q_SETQUOTA, PRJQUOTA = 0x800008, 2
QIF_LIMITS = 5
"""The limits of blocks and of inodes are meant."""
LIMITS = struct.Struct("=QQQQQQQQI4x")
"""Blocks of 1 KiB, hard and soft, bytes in use, inodes, hard and soft, inodes in use, two times, what is meant."""

FIRST = 0x4E42_0001
"""The first number that is given: the disk of a host may have projects of its own, with small ones."""

MOUNT_OPTION = "prjquota"
"""Of a file system that enforces them."""


def project_of(folder: int) -> int:
    """The project of an open folder; 0 for none. Raises OSError."""
    return int(XATTR.unpack(fcntl.ioctl(folder, FS_IOC_FSGETXATTR, bytes(XATTR.size)))[3])


def assign(folder: int, project: int) -> None:
    """Make an open folder, and all that will be made below it, part of a project. Raises OSError."""
    flags, extent, extents, _, copied = XATTR.unpack(fcntl.ioctl(folder, FS_IOC_FSGETXATTR, bytes(XATTR.size)))
    fcntl.ioctl(folder, FS_IOC_FSSETXATTR, XATTR.pack(flags | FS_XFLAG_PROJINHERIT, extent, extents, project, copied))


def limit(folder: int, project: int, kib: int, inodes: int) -> None:
    """What a project may use of the file system that an open folder is on. Raises OSError."""
    limits = LIMITS.pack(kib, 0, 0, inodes, 0, 0, 0, 0, QIF_LIMITS)
    command = ctypes.c_uint(Q_SETQUOTA << 8 | PRJQUOTA)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syscall(SYS_QUOTACTL_FD, folder, command, ctypes.c_uint(project), limits) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def cap(parent: Path, name: str, share: int) -> None:
    """Give the folder `name` a project of its own, if it has none, and let it use at most one part in `share` of the
    file system: of its room as of its inodes. Whoever calls this holds the lock of `parent`.

    Raises:
        OSError: it cannot be done.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    folder = os.open(parent / name, flags)
    try:
        project = project_of(folder)
        if project == 0:
            project = 1 + max(FIRST - 1, *_projects(parent))
            assign(folder, project)
        whole = os.statvfs(parent)
        limit(folder, project, whole.f_blocks * whole.f_frsize // 1024 // share, whole.f_files // share)
    finally:
        os.close(folder)


def _projects(parent: Path) -> list[int]:
    """Those of the folders in a folder."""
    found = []
    for entry in os.scandir(parent):
        if entry.is_dir(follow_symlinks=False):
            folder = os.open(entry.path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                found.append(project_of(folder))
            finally:
                os.close(folder)
    return found

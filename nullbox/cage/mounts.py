"""mount(2) and its younger relatives, for jails and volumes (edge module: system calls).

Folders that agents may write to are opened without following any link (openat2(2)), and what was opened is what gets
mounted: there is no moment in which a name could come to mean another folder.

Sources: mount(2), mount_setattr(2), openat2(2), pivot_root(2), Linux Documentation/filesystems/mount_api.rst.
"""

from __future__ import annotations

import ctypes
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 1 << 14, 1 << 18
MNT_DETACH = 2
HARDENED = MS_NOSUID | MS_NODEV | MS_NOEXEC

SYS_PIVOT_ROOT, SYS_OPEN_TREE, SYS_MOVE_MOUNT, SYS_OPENAT2, SYS_MOUNT_SETATTR = 155, 428, 429, 437, 442
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC, MOVE_MOUNT_F_EMPTY_PATH = 1, os.O_CLOEXEC, 4
MOUNT_ATTR_RDONLY, MOUNT_ATTR_HARDENED = 1, 2 | 4 | 8
RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_BENEATH = 2, 4, 8


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2). Raises OSError, with the target in it."""
    words = [text.encode() for text in (source, target, kind)]
    _checked(
        _libc().mount(*words, ctypes.c_ulong(flags), options.encode() or None), f"mount {kind or source} on {target}"
    )


def unmount(target: str) -> None:
    """Take a mount away, used or not (umount2(2)). Raises OSError."""
    _checked(_libc().umount2(target.encode(), MNT_DETACH), f"unmount {target}")


def make_private() -> None:
    """Nothing that is mounted in this namespace from now on shows elsewhere, and nothing from elsewhere here."""
    mount("none", "/", "", MS_REC | MS_PRIVATE)


def pivot(root: str) -> None:
    """Make a mounted folder the root, and let the old one go: nothing of it can be named any more. Raises OSError."""
    os.chdir(root)
    _checked(_libc().syscall(SYS_PIVOT_ROOT, b".", b"."), f"pivot_root to {root}")
    unmount(".")  # the old root lies on top of the new one now
    os.chdir("/")


@contextmanager
def opened(base: str, below: str = "", *, flags: int = os.O_PATH | os.O_DIRECTORY) -> Iterator[int]:
    """A descriptor of the folder `below` the folder `base`, reached without following a link below it.

    Raises:
        OSError: ELOOP, there is a link on the way; EXDEV, the way leads out.
    """
    descriptor = os.open(base, flags | os.O_CLOEXEC)
    try:
        if below:
            inner = openat2(descriptor, below, flags)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def openat2(folder: int, below: str, flags: int) -> int:
    """Open what is `below` an open folder: never through a link, never outside. Raises OSError."""
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS)
    result = _libc().syscall(SYS_OPENAT2, folder, below.encode(), how, ctypes.c_size_t(len(how)))
    return _checked(result, f"open {below}")


def bind(folder: int, target: str, *, read_only: bool) -> None:
    """Mount an open folder at `target`: no setuid, no devices, no programs there, and no writing if read_only.

    Raises:
        OSError: with the target in it.
    """
    what = f"bind {target}"
    tree = _checked(
        _libc().syscall(SYS_OPEN_TREE, folder, b"", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH), what
    )
    try:
        wanted = MOUNT_ATTR_HARDENED | (MOUNT_ATTR_RDONLY if read_only else 0)
        attributes = struct.pack("=QQQQ", wanted, 0, 0, 0)
        size = ctypes.c_size_t(len(attributes))
        _checked(_libc().syscall(SYS_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, attributes, size), what)
        place = target.encode()
        _checked(_libc().syscall(SYS_MOVE_MOUNT, tree, b"", AT_FDCWD, place, MOVE_MOUNT_F_EMPTY_PATH), what)
    finally:
        os.close(tree)


def is_mount_point(path: str) -> bool:
    """Whether something is mounted at a path that is no link. False: nothing is, or the path is not there."""
    try:
        return os.path.ismount(path)
    except OSError:
        return False


def file_system_of(path: str) -> tuple[str, list[str]]:
    """The kind of file system that a path is on, as mount(8) names it, and its options; empty if nobody says."""
    with open("/proc/self/mountinfo") as file:
        return file_system_of_device(file.read(), Path(path).stat().st_dev)


def file_system_of_device(mountinfo: str, device: int) -> tuple[str, list[str]]:
    """The same of the file system with that device number, in the text of proc_pid_mountinfo(5). Pure."""
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        if fields.split()[2] == wanted:
            kind, _, options = rest.split(" ")[:3]
            return kind, options.split(",")
    return "", []


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return int(result)

"""The tree behind `/data`: a volume for each first folder, a file system with a size (edge module: mounts, files).

Where the tree is in memory, a volume is a tmpfs that is made when the first agent that names it starts, and stays
until the machine stops. On a disk it is a folder of that disk, and what is in it stays; where the disk's file system
has project quotas, as that of a STATE partition has, a volume can use a part of the disk and no more.
A folder that an agent may write to belongs to root and to the group of all agents' folders, with the set-group-id
bit, so that what one agent makes the others that have the folder may change. Volumes may be written to by agents, so
nothing in them is reached through a link.

Sources: tmpfs(5), inode(7) on the set-group-id bit of folders.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from nullbox.cage import mounts, quota
from nullbox.cage.grants import DATA, volume
from nullbox.cage.resources import VOLUME_INODES, VOLUME_MIB
from nullbox.cage.users import DATA_GROUP
from nullbox.protocols.errors import ErrorCode, NullBoxError

OPTIONS = f"mode=755,size={VOLUME_MIB}m,nr_inodes={VOLUME_INODES}"
SHARE = 4
"""A volume on a disk can use one part in so many of it."""
READ_FOLDER, WRITE_FOLDER = 0o2750, 0o2770


class Volumes:
    """The volumes below a folder of the host (`Layout.data`)."""

    def __init__(self, data: Path) -> None:
        self._data = data

    def prepare(self, read: Iterable[str], write: Iterable[str]) -> None:
        """See that every granted path is a folder in its volume. Paths are those of the manifest, below `/data`.

        Raises:
            NullBoxError: `unavailable`, a folder cannot be made, or there is a link or a file in its way.
        """
        self._data.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # two agents that start must not mount one volume twice
            for path, mode in [*((path, READ_FOLDER) for path in read), *((path, WRITE_FOLDER) for path in write)]:
                try:
                    self._mount(volume(path))
                    _make(lock, path.removeprefix(f"{DATA}/").split("/"), mode)
                except OSError as error:
                    raise NullBoxError(
                        ErrorCode.UNAVAILABLE,
                        f"the folder {path} cannot be granted: {error.strerror}; is something else of that name, or a "
                        "link, in its way, or is its volume full?",
                    ) from error
        finally:
            os.close(lock)

    def used_mib(self) -> int:
        """Memory that the files of all volumes take, in MiB, rounded up each."""
        total = 0
        for place in self._mounted():
            found = os.statvfs(place)
            total += -(-(found.f_blocks - found.f_bfree) * found.f_frsize // (1 << 20))
        return total

    def _mounted(self) -> list[Path]:
        if not self._data.is_dir():
            return []
        return [place for place in sorted(self._data.iterdir()) if mounts.is_mount_point(str(place))]

    def _mount(self, name: str) -> None:
        place = self._data / name
        place.mkdir(exist_ok=True)
        kind, options = mounts.file_system_of(str(self._data))
        if kind == "tmpfs" and not mounts.is_mount_point(str(place)):
            mounts.mount("nullbox", str(place), "tmpfs", mounts.HARDENED, OPTIONS)
        elif quota.MOUNT_OPTION in options:
            quota.cap(self._data, name, SHARE)


def _make(data: int, names: list[str], mode: int) -> None:
    """Make the folder of these names below an open folder, and give the last one its mode if it is root's."""
    folder = os.dup(data)
    try:
        for name in names:
            try:
                os.mkdir(name, 0o755, dir_fd=folder)
                made = True
            except FileExistsError:
                made = False
            inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = inner
        found = os.fstat(folder)
        # One that is granted for writing once stays so: whoever may write there need not be running now.
        ours = found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) != WRITE_FOLDER
        if ours and (made or mode == WRITE_FOLDER):
            os.fchown(folder, -1, DATA_GROUP)
            os.fchmod(folder, mode)
    finally:
        os.close(folder)

"""The directory of an actor system's sockets: who may use it, and that only one system does.

An edge module: it makes the directory and takes its lock (flock(2)).
"""

from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

from nullbox.actors import process
from nullbox.actors.transport import naming
from nullbox.protocols.errors import ErrorCode, NullBoxError

LOCK = ".lock"
MAX_DIRECTORY = 70
"""Longest path of the directory, in bytes: a socket's path holds 107 (unix(7)) and a mailbox's name up to 28."""
LOCK_SECONDS = 2.0
"""How long to wait for the processes of an earlier system to be gone."""


def prepare(directory: Path) -> None:
    """Make the directory, or see that it can be used.

    Raises:
        NullBoxError: `invalid`, with what is wrong.
    """
    if not directory.is_absolute() or len(os.fsencode(directory)) > MAX_DIRECTORY:
        raise NullBoxError(
            ErrorCode.INVALID,
            f"{directory}: the directory of sockets needs an absolute path of at most {MAX_DIRECTORY} bytes",
        )
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = directory.lstat()
    except OSError as error:
        raise NullBoxError(ErrorCode.INVALID, f"cannot use {directory}: {error}") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise NullBoxError(
            ErrorCode.INVALID,
            f"{directory} must be a directory of uid {os.geteuid()} with mode 0700, not {stat.filemode(found.st_mode)} "
            f"of uid {found.st_uid}",
        )


def lock(directory: Path) -> int:
    """Take the directory's lock; every process of the system inherits it, so it is free when all are gone.

    Raises:
        NullBoxError: `conflict`, with the pid of the launcher that has it.
    """
    descriptor = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    until = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() >= until:
                owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
                os.close(descriptor)
                raise NullBoxError(
                    ErrorCode.CONFLICT,
                    f"an actor system of pid {owner or '?'} runs in {directory}; stop it, or use another directory",
                ) from None
            time.sleep(0.02)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def remove_stale(directory: Path) -> None:
    """Remove the sockets of an earlier system. The lock says that its processes are gone, but for survivors."""
    for path in directory.iterdir():
        pid = naming.owner_pid(path.name.lstrip("."), 0)
        if path.name == naming.ADMIN or (pid is not None and process.is_gone(pid)):
            path.unlink(missing_ok=True)

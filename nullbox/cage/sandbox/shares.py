"""Effects: opens the folders that a sandbox shows. Those below `/data` are reached without following any link: other
agents may write there, and a link of theirs must not make another folder of the host appear, or change its mode.

What was opened is what gets mounted (`/proc/self/fd/N`), so no name can come to mean another folder in between.
"""

from __future__ import annotations

import contextlib
import os

from nullbox.cage.grants import DATA
from nullbox.cage.vmplan import Share

SHARED = 0o1777
"""Agents are users of their own: with a write grant of one folder, all may make files in it, and remove their own."""

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def opened(share: Share) -> int:
    """A descriptor of the folder; one below `/data` is made if nobody has written to it yet.

    Raises:
        OSError: it cannot be made, or there is a link or a file in its way.
    """
    assert share.guest is not None
    if not share.guest.startswith(f"{DATA}/"):
        return os.open(share.host, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    below = share.guest.removeprefix(DATA)
    base = share.host.removesuffix(below)
    os.makedirs(base, exist_ok=True)  # noqa: PTH103 - a text stays one
    folder = os.open(base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in below.strip("/").split("/"):
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o755, dir_fd=folder)
            inner = os.open(name, FOLDER, dir_fd=folder)
            os.close(folder)
            folder = inner
        if not share.read_only and os.fstat(folder).st_uid == os.geteuid():
            os.fchmod(folder, SHARED)
    except OSError as error:
        os.close(folder)
        raise OSError(error.errno, f"{share.guest}: {error.strerror}") from error
    return folder

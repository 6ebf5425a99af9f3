"""A folder as the parts that `agent.deploy` takes. Effects: reads the folder."""

from __future__ import annotations

import base64
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

PART = 480 * 1024
"""Bytes of file content in one part: 4/3 of it in base64, with room for names, in a message of at most 1 MiB."""
OVERHEAD = 400
"""Bytes that a file's name and marks count for."""
SKIPPED = frozenset({"__pycache__"})


def files_of(folder: Path) -> list[Path]:
    """Regular files below the folder, sorted; neither hidden ones nor byte code, and no links.

    Raises:
        NullBoxError: `not_found` if there is no such folder, `invalid` without an AGENT.toml in it.
    """
    if not folder.is_dir():
        raise NullBoxError(ErrorCode.NOT_FOUND, f"no folder {folder}")
    if not (folder / "AGENT.toml").is_file():
        raise NullBoxError(ErrorCode.INVALID, f"{folder} has no AGENT.toml; give the folder that it lies in")
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED)
        for name in sorted(names):
            path = Path(root) / name
            if not name.startswith(".") and not name.endswith(".pyc") and path.is_file() and not path.is_symlink():
                found.append(path)
    return found


def parts(folder: str | os.PathLike[str]) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Parameters for `agent.deploy`, call by call, with the bytes sent so far and in all."""
    base = Path(folder)
    paths = files_of(base)
    total = sum(path.stat().st_size for path in paths)
    upload = secrets.token_hex(8)
    files: list[dict[str, Any]] = []
    room, sent = PART, 0
    for path in paths:
        name = path.relative_to(base).as_posix()
        executable = bool(path.stat().st_mode & 0o100)
        offset = 0
        with path.open("rb") as file:
            while True:
                if room < 2 * OVERHEAD:
                    yield {"upload": upload, "files": files, "last": False}, sent, total
                    files, room = [], PART
                data = file.read(room - OVERHEAD)
                if data or offset == 0:
                    text = base64.b64encode(data).decode()
                    files.append({"path": name, "offset": offset, "data": text, "executable": executable})
                room -= len(data) + OVERHEAD
                offset += len(data)
                sent += len(data)
                if not data or offset >= path.stat().st_size:
                    break
    yield {"upload": upload, "files": files, "last": True}, sent, total

"""Rules for the paths of filesystem grants: pure functions over text, no look at any disk.

All grants lie below `/data`, one tree for the whole system: two agents that name one path share it, which is how agents
hand each other files, and is visible in both manifests. Inside one manifest no granted path may equal another or lie
below it: with two mounts on top of each other, which of them an agent writes through would hang on their order, and a
read-only view could be written to through its parent by accident.

Between two agents there is no such rule: one may write what the other reads, or what holds it; both manifests say so.

The first folder of a path below `/data` is its volume: a file system of its own with a size of its own. Agents that
fill one volume leave the others, and the rest of the system, as they are.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

from nullbox.cage.problems import Refused

DATA = "/data"
MAX_PATH = 255
"""Longest path in bytes."""

PATH_ALLOWED = 'an absolute, normalised path below /data, such as "/data/corpus"'


def check_path(text: str) -> str:
    """A granted path, unchanged.

    Raises:
        Refused: relative, not normalised, with `..`, not below /data, too long, or with control characters.
    """
    if not text.isprintable() or len(text.encode(errors="replace")) > MAX_PATH:
        raise Refused(f"{PATH_ALLOWED}, at most {MAX_PATH} bytes, printable")
    if not text.startswith(f"{DATA}/") or posixpath.normpath(text) != text or ".." in text.split("/"):
        raise Refused(PATH_ALLOWED)
    return text


def volume(path: str) -> str:
    """The name of the volume that a granted path is in, or is."""
    return path.removeprefix(f"{DATA}/").partition("/")[0]


def overlap(path: str, others: Sequence[str]) -> str | None:
    """The first of the others that equals the path, holds it or lies below it; None when there is none."""
    for other in others:
        if path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/"):
            return other
    return None

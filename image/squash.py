"""Make, list and unpack SquashFS files (edge: runs mksquashfs, unsquashfs and readelf).

Sources: mksquashfs(1), unsquashfs(1), readelf(1).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from image.audit import Elf, Listed, parse_needed, parse_unsquashfs

BLOCK_SIZE = "128K"
"""Larger blocks save little and cost a slow machine time for each small file that it reads."""


HIGHEST = 32767
"""The largest priority in mksquashfs' sort file."""


class ToolError(Exception):
    """One of the tools failed; the message has its words."""


def run(argv: list[str], epoch: int | None = None) -> str:
    """Run a tool; what it printed. epoch: the SOURCE_DATE_EPOCH that it is given, for tools that take times from it."""
    environment = _environment() | ({} if epoch is None else {"SOURCE_DATE_EPOCH": str(epoch), "TZ": "UTC"})
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=environment)
    except FileNotFoundError:
        raise ToolError(f"{argv[0]} is not installed; `make setup` installs it") from None
    if done.returncode:
        raise ToolError(f"{argv[0]} failed: {(done.stderr or done.stdout).strip()}")
    return done.stdout


def _environment() -> dict[str, str]:
    """Without the caller's SOURCE_DATE_EPOCH: mksquashfs' reading of it would contradict the times given by option."""
    return {k: v for k, v in os.environ.items() if k != "SOURCE_DATE_EPOCH"} | {"LC_ALL": "C.UTF-8"}


def make(root: Path, image: Path, level: int = 19, first: Sequence[str] = ()) -> None:
    """Write the tree below `root` to `image`: owned by root, all times 0, so the same tree gives the same bytes.

    `level` is zstd's, 1 to 22. `first`: paths below `root` of files that are stored before all others, in this order.
    """
    scratch = image.with_suffix(".tmp")
    sort = image.with_suffix(".sort")
    sort.write_text("".join(f"{path} {HIGHEST - place}\n" for place, path in enumerate(first[:HIGHEST])))
    argv = ["mksquashfs", str(root), str(scratch), "-comp", "zstd", "-Xcompression-level", str(level)]
    argv += ["-b", BLOCK_SIZE, "-all-root", "-all-time", "0", "-mkfs-time", "0", "-root-mode", "0755"]
    argv += ["-no-xattrs", "-no-exports", "-noappend", "-no-progress", "-quiet", "-sort", str(sort)]
    scratch.unlink(missing_ok=True)
    run(argv)
    sort.unlink()
    scratch.replace(image)


def listing(image: Path) -> list[Listed]:
    """Everything in an image, the root folder itself left out."""
    return parse_unsquashfs(run(["unsquashfs", "-lln", str(image)]))


def unpack(image: Path, target: Path) -> None:
    """Unpack an image into a folder that does not exist yet."""
    run(["unsquashfs", "-no-progress", "-quiet", "-no-xattrs", "-dest", str(target), str(image)])


def elves(root: Path) -> list[Elf]:
    """All ELF files below a folder with what they need, their paths relative to it."""
    found = []
    for path in sorted(root.rglob("*")):
        if path.is_symlink() or not path.is_file():
            continue
        with path.open("rb") as file:
            if file.read(4) == b"\x7fELF":
                found.append(path)
    if not found:
        return []
    # A second file, even the same one twice, makes readelf name every file that it shows.
    text = run(["readelf", "--dynamic", "--wide", *map(str, found), str(found[-1])])
    return [
        Elf(str(Path(elf.path).relative_to(root)), elf.needed)
        for elf in {elf.path: elf for elf in parse_needed(text)}.values()
    ]

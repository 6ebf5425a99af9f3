"""The rules that an image must keep, checked on a listing of it (pure).

The build checks the tree it has written, and a test the finished file: both turn what they see into `Listed` rows
and ask `violations`.
"""

from __future__ import annotations

import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from image.contents import EXECUTABLES, GUEST, KRUN_LIBRARIES, LIBRARIES, LIBRARY_PATH, MAX_BYTES

FORBIDDEN_PROGRAMS = frozenset(
    name
    for kind in (
        "ash bash busybox csh dash fish ksh mksh rbash sh tcsh toybox zsh",
        "apt apt-get aptitude dpkg pip pip3 rpm yum dnf apk snap",
        "as cc c++ clang cpp gcc g++ gdb ld lld make tcc",
        "chroot curl doas mount nc ncat perl socat ssh sshd su sudo telnet umount wget",
    )
    for name in kind.split()
)
"""Names that no file of the image may have, in any folder of programs."""

ELF_SUFFIX = re.compile(r"\.so(\.\d+)*$")


@dataclass(frozen=True)
class Listed:
    """A path of the image as found. `mode` includes the type bits of stat(2); `target` is a link's."""

    path: str
    mode: int
    uid: int = 0
    gid: int = 0
    target: str = ""


@dataclass(frozen=True)
class Elf:
    """The dynamic section of a program or shared object: the sonames it needs."""

    path: str
    needed: tuple[str, ...]


def violations(
    listing: Iterable[Listed], origins: Mapping[str, str], elves: Iterable[Elf], programs: Iterable[str] = ()
) -> list[str]:
    """Every broken rule as a sentence.

    origins: path → origin of all that the build put in. programs: what a variant of the image may execute besides.
    """
    executables = {*EXECUTABLES, *programs}
    rows = sorted(listing, key=lambda row: row.path)
    found: list[str] = []
    for row in rows:
        name = row.path.rpartition("/")[2]
        if row.path not in origins:
            found.append(f"/{row.path} has no origin")
        if (row.uid, row.gid) != (0, 0):
            found.append(f"/{row.path} belongs to {row.uid}:{row.gid}, not to root")
        if stat.S_ISLNK(row.mode):
            continue
        if row.mode & (stat.S_ISUID | stat.S_ISGID):
            found.append(f"/{row.path} is setuid or setgid")
        if row.mode & stat.S_IWOTH:
            found.append(f"/{row.path} is writable by all")
        if stat.S_ISREG(row.mode) and row.mode & 0o111 and row.path not in executables:
            found.append(f"/{row.path} is executable, and image.contents.EXECUTABLES does not list it")
        if name in FORBIDDEN_PROGRAMS and stat.S_ISREG(row.mode):
            found.append(f"/{row.path} is a program that the image must not have")
        if not (stat.S_ISREG(row.mode) or stat.S_ISDIR(row.mode)):
            found.append(f"/{row.path} is neither file, folder nor link")
    code = list(elves)
    return found + unlisted(code, origins) + unloadable(code)


def unlisted(elves: Iterable[Elf], origins: Mapping[str, str]) -> list[str]:
    """Machine code that no table chose: a program, a shared object, an extension module of Python from elsewhere."""
    chosen = set(EXECUTABLES)
    chosen |= {f"{prefix}{LIBRARY_PATH}/{library.soname}" for library in LIBRARIES for prefix in ("", f"{GUEST}/")}
    chosen |= {f"system/lib/{name}" for name in KRUN_LIBRARIES}
    found = []
    for elf in elves:
        module = elf.path.endswith(".so") and origins.get(elf.path, "").startswith(("debian:libpython3", "pypi:"))
        if elf.path not in chosen and not module:
            found.append(f"/{elf.path} is machine code that no table of image.contents lists")
    return found


def unloadable(elves: Iterable[Elf]) -> list[str]:
    """Shared objects that a program would miss, and those that none would load, in each of the two trees."""
    found: list[str] = []
    trees: dict[bool, list[Elf]] = {False: [], True: []}
    for elf in elves:
        trees[elf.path.startswith(f"{GUEST}/")].append(elf)
    opened = {library.soname for library in LIBRARIES if library.loaded_by} | set(KRUN_LIBRARIES)
    for guest, tree in trees.items():
        prefix = f"{GUEST}/" if guest else ""
        there = {elf.path.rpartition("/")[2] for elf in tree if elf.path.startswith(prefix + LIBRARY_PATH)}
        needed = {soname for elf in tree for soname in elf.needed}
        for elf in tree:
            found += [f"/{elf.path} needs {n}, which is not there" for n in elf.needed if n not in there]
            name = elf.path.rpartition("/")[2]
            module = "lib-dynload/" in elf.path or elf.path.startswith("system/python/")
            if ELF_SUFFIX.search(name) and not module and name not in needed | opened:
                found.append(f"/{elf.path} is loaded by nothing")
    return found


def too_large(size: int, limit: int = MAX_BYTES) -> list[str]:
    """Whether an image of `size` bytes exceeds the limit, as a list of no or one sentence."""
    return [f"the image has {size} bytes, more than {limit}"] if size > limit else []


def parse_needed(readelf: str) -> list[Elf]:
    """Read `readelf --dynamic --wide FILE...`: the NEEDED entries of each file (one file: no `File:` line)."""
    elves: list[Elf] = []
    path = ""
    needed: list[str] = []
    for line in readelf.splitlines():
        if line.startswith("File: "):
            if path:
                elves.append(Elf(path, tuple(needed)))
            path, needed = line[6:].strip(), []
        elif match := re.search(r"\(NEEDED\)\s+Shared library: \[(.+)\]", line):
            needed.append(match[1])
    if path:
        elves.append(Elf(path, tuple(needed)))
    return elves


def parse_unsquashfs(text: str) -> list[Listed]:
    """Read `unsquashfs -lln`: one line per path, owners as numbers, names below `squashfs-root`."""
    rows = []
    for line in text.splitlines():
        match = re.match(r"([-dlcbps][-rwxsStT]{9}) (\d+)/(\d+) .*? squashfs-root(?:/(.*))?$", line)
        if match and match[4]:
            path, _, target = match[4].partition(" -> ")
            rows.append(Listed(path, parse_mode(match[1]), int(match[2]), int(match[3]), target))
    return rows


def parse_mode(text: str) -> int:
    """The mode that `ls -l` shows as text, e.g. `-rwsr-xr-x`."""
    kinds = {"-": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "c": stat.S_IFCHR, "b": stat.S_IFBLK}
    kinds |= {"p": stat.S_IFIFO, "s": stat.S_IFSOCK}
    mode = kinds[text[0]]
    for position, letter in enumerate(text[1:10]):
        if letter in "rwxst":
            mode |= 0o400 >> position
        if letter in "sStT":
            mode |= 0o4000 >> (position // 3)
    return mode

"""Write the planned tree to disk (edge: copies, compiles and strips files).

Byte code of what was fetched is kept in the cache folder: it is compiled once per version, all of a package in one
go, so that what is compiled does not depend on which of it a build takes.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from image import squash
from image.interpreter import PROGRAMS, ImagePython
from image.plan import Entry
from image.sources import cache_dir


def digest(*parts: str | bytes) -> str:
    """SHA-256 over the parts, each with its length, in hex."""
    state = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        state.update(len(data).to_bytes(8, "big") + data)
    return state.hexdigest()


def compile_entries(entries: Sequence[Entry], python: ImagePython) -> dict[Entry, Path]:
    """Byte code of `pyc` entries, from the cache or compiled now: entry → file.

    Entries of one origin are compiled together, those of our own files all together. The cache key covers the
    interpreter, the compiler program and every source with its name.
    """
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        origin = "nullbox" if entry.origin.startswith("nullbox:") else entry.origin
        groups.setdefault(origin, []).append(entry)
    base = digest(
        (PROGRAMS / "bytecode.py").read_bytes(),
        (python.stdlib / "ast.py").read_bytes(),
        str(sorted(path.name for path in python.dynload.iterdir())),
    )
    compiled: dict[Entry, Path] = {}
    for group in groups.values():
        jobs = sorted({(entry.text, entry.strip, entry.source) for entry in group})
        key = digest(base, *(f"{name} {strip}" for name, strip, _ in jobs), *_contents(jobs))
        folder = cache_dir() / "pyc" / key
        if not folder.is_dir():
            _compile(jobs, folder, python)
        for entry in group:
            compiled[entry] = folder / _cached_name(entry.text, entry.strip)
    return compiled


def _contents(jobs: Iterable[tuple[str, bool, str]]) -> list[bytes]:
    return [Path(source).read_bytes() for _, _, source in jobs]


def _cached_name(name: str, strip: bool) -> str:
    return digest(name, str(strip))[:32]


def _compile(jobs: Sequence[tuple[str, bool, str]], folder: Path, python: ImagePython) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as scratch:
        fresh = Path(scratch) / "content"
        request = [[source, str(fresh / _cached_name(name, strip)), name, strip] for name, strip, source in jobs]
        python.run("bytecode", {"jobs": request})
        if not folder.is_dir():
            fresh.rename(folder)


def write_tree(entries: Sequence[Entry], compiled: dict[Entry, Path], root: Path) -> None:
    """Make the tree below `root` anew, exactly the entries, whatever the umask."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    root.chmod(0o755)
    for entry in entries:
        path = root / entry.path
        if entry.kind == "folder":
            path.mkdir()
        elif entry.kind == "link":
            path.symlink_to(entry.text)
        elif entry.kind == "text":
            path.write_text(entry.text)
        else:
            shutil.copyfile(compiled[entry] if entry.kind == "pyc" else entry.source, path)
            if entry.kind == "file":
                drop_debug_information(path)
        if entry.kind != "link":
            path.chmod(entry.mode)


def drop_debug_information(path: Path) -> None:
    """Take what only a debugger reads out of a program or library: msgpack's is four fifths of the file."""
    content = path.read_bytes()
    if content[:4] == b"\x7fELF" and b".debug_info\0" in content:
        squash.run(["strip", "--strip-debug", str(path)])


def write_manifest(entries: Sequence[Entry], path: Path) -> None:
    """The list of what is in the image and where it comes from, as JSON, for checks and people."""
    write_json([{"path": e.path, "kind": e.kind, "mode": e.mode, "origin": e.origin} for e in entries], path)


def write_json(value: Any, path: Path) -> None:
    """Replace a file by this value, in one step."""
    scratch = path.with_suffix(".tmp")
    scratch.write_text(json.dumps(value, indent=0, ensure_ascii=False) + "\n")
    scratch.replace(path)

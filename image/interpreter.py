"""Run programs with the image's own Python on the build machine (edge: copies files, starts processes).

The byte code and the grammar must be the image's, whatever Python the host has. The interpreter is laid out in a
folder of its own and started through the image's own dynamic loader, so that the host's C library plays no part.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

from image import contents
from image.sources import Sources

PROGRAMS = Path(__file__).resolve().parent


class InterpreterError(Exception):
    """A program run by the image's Python failed; the message ends with what it printed."""


class ImagePython:
    """The image's interpreter with its whole standard library, below `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def stdlib(self) -> Path:
        """The merged standard library of Debian's packages."""
        return self._folder / contents.STDLIB_PATH

    @property
    def dynload(self) -> Path:
        """The extension modules of the standard library."""
        return self.stdlib / "lib-dynload"

    def lay_out(self, sources: Sources) -> None:
        """Copy interpreter, loader, libraries and standard library together, replacing what was there."""
        shutil.rmtree(self._folder, ignore_errors=True)
        for package, path in (contents.INTERPRETER, contents.LOADER):
            self._copy(sources.debian[package].folder / path, path)
        for library in contents.LIBRARIES:
            path = f"{contents.LIBRARY_PATH}/{library.soname}"
            self._copy(sources.debian[library.package].folder / path, path)
        for package in contents.STDLIB_PACKAGES:
            shutil.copytree(
                sources.debian[package].folder / contents.STDLIB_PATH,
                self.stdlib,
                dirs_exist_ok=True,
                ignore=_links,
            )

    def _copy(self, source: Path, path: str) -> None:
        target = self._folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, target)

    def run(self, program: str, request: dict[str, Any]) -> dict[str, Any]:
        """Run `image/PROGRAM.py` with `request` as JSON on its standard input; its output as JSON, if any."""
        argv = [str(self._folder / contents.LOADER[1])]
        argv += ["--library-path", str(self._folder / contents.LIBRARY_PATH)]
        argv += [str(self._folder / contents.INTERPRETER[1]), "-s", "-S", "-B", "-X", "no_debug_ranges"]
        argv.append(str(PROGRAMS / f"{program}.py"))
        done = subprocess.run(
            argv,
            input=json.dumps(request),
            env={"PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise InterpreterError(f"image/{program}.py, run by the image's Python: {done.stderr.strip()}")
        return dict(json.loads(done.stdout)) if done.stdout else {}


def _links(folder: str, names: list[str]) -> list[str]:
    """Debian's symbolic links in the library point to files the image does not have."""
    return [name for name in names if (Path(folder) / name).is_symlink()]

"""What a start would look up, read and compile piece by piece, from one file that was made when the image was built.

- The byte code of the modules that a start loads. Python looks for each one in several folders, and reads it from a
  file of its own, which a compressed file system unpacks together with its neighbours.
- The methods of data classes, which each of them writes as text and has compiled; the same of named tuples, and types
  that are named as text.
- Regular expressions, which go through a compiler written in Python.

`image/rehearsal.py` makes the file. What is not in it is found, read and compiled as ever.

Effects: reads a file; changes the list of module finders, and `re`, `dataclasses`, `collections` and `typing` at the
one place in each where something is compiled. It imports only what the interpreter has loaded by itself, so that all
else comes from the file.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib import ModuleSpec

TYPE_CHECKING = False  # `typing` has it, too, and is to come from the file
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

PATH = "/system/python/precompiled"
LENGTH = 8
"""Bytes at the beginning that say, little-endian, how long the table is that follows. Behind it lie its pieces."""

Piece = tuple[int, int]
"""Offset behind the table, and length, of something that marshal wrote."""
KnownModules = dict[str, tuple[Piece, str, bool]]
"""Name → byte code, the module's file, whether it is a package."""
KnownMethods = dict[bytes, Piece]
"""`digest` of the text of a data class's methods → their code."""
KnownExpressions = dict[tuple[str | bytes, int], Piece]
"""Pattern and flags → the other arguments of the compiled pattern's constructor."""
KnownTexts = dict[str, "CodeType"]
"""The text of an expression of Python → its code."""


def digest(text: str) -> bytes:
    """What the text of a data class's methods is known by."""
    from hashlib import blake2b

    return blake2b(text.encode(), digest_size=16).digest()


def use(path: str = PATH) -> None:
    """From now on. Call it before the first data class; without a file that can be read nothing changes."""
    try:
        with open(path, "rb") as file:
            length = int.from_bytes(file.read(LENGTH), "little")
            if length > os.fstat(file.fileno()).st_size:
                return
            table = marshal.loads(file.read(length))  # noqa: S302 - of the read-only image
            modules, methods, expressions, texts = table
    except (OSError, ValueError, EOFError, TypeError):
        return
    pieces = Pieces(path, LENGTH + length)
    sys.meta_path.insert(0, Modules(pieces, modules))
    _expressions(pieces, expressions)
    _methods(pieces, methods)
    _texts(texts)


class Pieces:
    """Reads the file's pieces. A forked process opens it anew: it keeps no descriptor of its parent's."""

    def __init__(self, path: str, start: int) -> None:
        self._path = path
        self._start = start
        self._pid = 0
        self._fd = -1

    def load(self, piece: Piece) -> Any:
        if self._pid != os.getpid():
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            self._pid = os.getpid()
        offset, length = piece
        return marshal.loads(os.pread(self._fd, length, self._start + offset))  # noqa: S302 - of the read-only image


class Modules:
    """Finds and loads modules (importlib's protocols of a finder and a loader)."""

    def __init__(self, pieces: Pieces, known: KnownModules) -> None:
        self._pieces = pieces
        self._known = known

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        found = self._known.get(name)
        if found is None:
            return None
        _, origin, package = found
        spec = ModuleSpec(name, self, origin=origin, is_package=package)  # type: ignore[arg-type]
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(origin.rpartition("/")[0])
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """As the import system makes any."""

    def exec_module(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - what a loader does

    def get_code(self, name: str) -> CodeType:
        code: CodeType = self._pieces.load(self._known[name][0])
        return code

    def is_package(self, name: str) -> bool:
        return self._known[name][2]


def _methods(pieces: Pieces, known: KnownMethods) -> None:
    import dataclasses

    def execute(text: str, *namespaces: Any) -> None:
        found = known.get(digest(text))
        exec(pieces.load(found) if found else text, *namespaces)  # noqa: S102 - what `dataclasses` does

    vars(dataclasses)["exec"] = execute


def _expressions(pieces: Pieces, known: KnownExpressions) -> None:
    import re

    compiler: Any = vars(re)["_compiler"]
    compile_anew, make = compiler.compile, compiler._sre.compile

    def compile_pattern(pattern: Any, flags: int = 0) -> Any:
        found = known.get((pattern, int(flags))) if isinstance(pattern, str | bytes) else None
        return make(pattern, *pieces.load(found)) if found else compile_anew(pattern, flags)

    compiler.compile = compile_pattern


def _texts(known: KnownTexts) -> None:
    import collections
    import typing

    def evaluate(text: str, *namespaces: Any) -> Any:
        return eval(known.get(text, text), *namespaces)  # noqa: S307 - what `collections` does

    def compile_text(text: str, *more: Any) -> Any:
        return known.get(text) or compile(text, *more)

    vars(collections)["eval"] = evaluate
    vars(typing)["compile"] = compile_text

"""What a start would look up, read and compile piece by piece, from one file that was made when the image was built.

- The byte code of the modules that a start loads. Python looks for each one in several folders, and reads it from a
  file of its own, which a compressed file system unpacks together with its neighbours.
- The methods of data classes, which each of them writes as text and has compiled; the same of named tuples, and types
  that are named as text.
- Regular expressions, which go through a compiler written in Python.

Some modules are imported by name only, for what a start never does (`LATER`). Their code runs when something in them is
asked for.

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
from _thread import RLock

TYPE_CHECKING = False  # `typing` has it, too, and is to come from the file
if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import CodeType, ModuleType
    from typing import Any
else:
    ModuleType = type(sys)

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


LATER: Mapping[str, Mapping[str, object]] = {
    "asyncio.sslproto": {},  # nothing speaks TLS
    "asyncio.staggered": {},  # nothing connects to a name
    "ast": {},
    "difflib": {},  # for suggestions to who mistypes
    "dnslib": {},  # for agents' questions
    "inspect": {},
    "linecache": {},  # for tracebacks
    "locale": {},
    "nullbox.cage.manifest": {},  # for agents
    "secrets": {},  # for questions upstream
    "shutil": {},
    "subprocess": {"PIPE": -1, "STDOUT": -2, "DEVNULL": -3},  # which asyncio repeats
    "tempfile": {},  # for Thespian's own log file
    "textwrap": {},  # for tracebacks
}
"""Modules that others import by name and a start does not use → what is known of them without their code."""

OF_IMPORT = ("__class__", "__name__", "__loader__", "__package__", "__spec__", "__path__", "__file__", "__cached__")
"""Attributes of a module that an import makes, and looks at."""


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


class Later(ModuleType):
    """A module whose code runs when something in it is asked for that is not known without it.

    As the standard library's `LazyLoader` makes them, except that to import it once more does not count as asking.
    """

    def __getattribute__(self, name: str) -> Any:
        if name not in OF_IMPORT:
            own: str = ModuleType.__getattribute__(self, "__name__")
            loader: Modules = ModuleType.__getattribute__(self, "__loader__")
            with loader.lock:  # who asks meanwhile waits for the whole module, but for its own code
                if type(self) is Later and own not in loader.running:
                    if name in LATER[own]:
                        return LATER[own][name]
                    loader.running.add(own)
                    try:
                        loader.run(self)
                        self.__class__ = ModuleType  # type: ignore[assignment]
                    finally:
                        loader.running.remove(own)
        return ModuleType.__getattribute__(self, name)


class Modules:
    """Finds and loads modules (importlib's protocols of a finder and a loader)."""

    def __init__(self, pieces: Pieces, known: KnownModules) -> None:
        self._pieces = pieces
        self._known = known
        self.lock = RLock()
        self.running: set[str] = set()
        """Modules whose code runs because something was asked for."""

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

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """None: as the import system makes any."""
        return Later(spec.name) if spec.name in LATER else None

    def exec_module(self, module: ModuleType) -> None:
        if type(module) is not Later:
            self.run(module)

    def run(self, module: ModuleType) -> None:
        exec(self.get_code(module.__name__), module.__dict__)  # noqa: S102 - what a loader does

    def get_code(self, name: str) -> CodeType:
        code: CodeType = self._pieces.load(self._known[name][0])
        return code

    def is_package(self, name: str) -> bool:
        return self._known[name][2]


class Inspect:
    """What data classes ask of the module `inspect` for each class, without loading it."""

    @staticmethod
    def get_annotations(cls: type) -> dict[str, Any]:
        return dict(cls.__dict__.get("__annotations__", ()))  # noqa: RUF063 - what it does itself

    @staticmethod
    def signature(_cls: type) -> str:
        """For the docstring of a class without one, which nobody reads: there is none, as some classes have none."""
        raise ValueError

    def __getattr__(self, name: str) -> Any:
        import inspect

        return getattr(inspect, name)


def _methods(pieces: Pieces, known: KnownMethods) -> None:
    import dataclasses

    def execute(text: str, *namespaces: Any) -> None:
        found = known.get(digest(text))
        exec(pieces.load(found) if found else text, *namespaces)  # noqa: S102 - what `dataclasses` does

    vars(dataclasses).update(exec=execute, inspect=Inspect())


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

"""Find libkrun, load it, and call it (edge module: dlopen, ctypes).

`Library.find()` looks in this order: `PYKRUN_LIBRARY`; the system's loader; the folder of the `smolmachines`
package; `/system/lib`, where the NullBox image keeps it. The library is opened lazily: builds with a GPU have
undefined symbols of virglrenderer, which only the GPU functions ever need, and `ctypes.CDLL` on a path would bind
them all at once and fail.

Sources: dlopen(3), libkrun.h.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pykrun import convert
from pykrun.abi import Function, Returns
from pykrun.errors import KrunError, LibraryNotFound, MissingFunction
from pykrun.functions import FUNCTIONS

LIBRARY_VARIABLE = "PYKRUN_LIBRARY"
SYSTEM_NAMES = ("libkrun.so.1", "libkrun.so.2", "libkrun.so")
WHEEL = "smolmachines"
IMAGE_FOLDER = Path("/system/lib")
FIRMWARE = "libkrunfw.so.5"
"""The guest's kernel as a shared library. libkrun opens it by this name when a context is made."""


def candidates(environ: Mapping[str, str] = os.environ) -> Iterator[str]:
    """Names and paths to try, best first. `PYKRUN_LIBRARY`, if set, is the only one: no silent second choice."""
    chosen = environ.get(LIBRARY_VARIABLE)
    if chosen:
        yield chosen
        return
    yield from SYSTEM_NAMES
    folder = wheel_folder()
    for place in (folder, IMAGE_FOLDER):
        if place is not None and (place / "libkrun.so").is_file():
            yield str(place / "libkrun.so")


def wheel_folder() -> Path | None:
    """The folder in which the `smolmachines` package keeps the library, without importing that package."""
    import importlib.metadata  # the half of a VMM's memory, and not needed where the library is named

    try:
        files = importlib.metadata.files(WHEEL) or []
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in files:
        if file.name == "libkrun.so":
            return Path(str(file.locate())).parent
    return None


class Library:
    """A loaded libkrun. `call` reaches every function of the table that this build exports."""

    def __init__(self, path: str) -> None:
        """Load one library by path, or by a name that the loader resolves.

        Raises:
            OSError: it cannot be loaded; the message is the loader's.
        """
        self.path = path
        folder = Path(path).parent
        if (folder / FIRMWARE).is_file():
            # Once loaded, the firmware is found by its name, wherever it lies; otherwise the loader's path decides.
            _dlopen(str(folder / FIRMWARE))
        self._handle = _dlopen(path)
        self._library = ctypes.CDLL(path, handle=self._handle)
        self._bound: dict[str, Any] = {}

    @classmethod
    def find(cls, environ: Mapping[str, str] = os.environ) -> Library:
        """Load the first candidate that loads.

        Raises:
            LibraryNotFound: none does; it says what was tried.
        """
        tried: list[tuple[str, str]] = []
        for candidate in candidates(environ):
            try:
                return cls(candidate)
            except OSError as error:
                tried.append((candidate, str(error)))
        raise LibraryNotFound(tried)

    def has(self, name: str) -> bool:
        """Whether this build exports the function."""
        return self._symbol(name) is not None

    @property
    def functions(self) -> frozenset[str]:
        """The functions of the table that this build exports."""
        return frozenset(name for name in FUNCTIONS if self.has(name))

    def call(self, name: str, *values: Any) -> Any:
        """Call a function of the table.

        Returns:
            Its non-negative result as a number; True or False for a yes-or-no function; text or None for a text.

        Raises:
            KeyError: the table has no such function.
            MissingFunction: this build does not export it.
            TypeError, ValueError: the arguments are not what the table says; the library was not called.
            KrunError: the library refused.
        """
        function = FUNCTIONS[name]
        symbol = self._symbol(name)
        if symbol is None:
            raise MissingFunction(name, self.path)
        result = symbol(*convert.arguments(function, values))
        if function.returns is Returns.TEXT:
            return None if result is None else result.decode(errors="replace")
        if result < 0:
            raise KrunError(-result, name, ", ".join(repr(value) for value in values), self.last_error())
        return bool(result) if function.returns is Returns.FLAG else result

    def last_error(self) -> str | None:
        """The library's own words about this thread's last failed start, where it has any."""
        text = self.call("krun_get_last_error") if self.has("krun_get_last_error") else None
        return None if text is None else str(text)

    def _symbol(self, name: str) -> Any:
        if name not in self._bound:
            function: Function = FUNCTIONS[name]
            symbol: Any
            try:
                symbol = self._library[name]
            except AttributeError:
                symbol = None
            else:
                symbol.argtypes = None  # convert.arguments gives exact C objects
                symbol.restype = function.restype
            self._bound[name] = symbol
        return self._bound[name]


def _dlopen(path: str) -> int:
    """dlopen(3) with lazy binding and global symbols.

    Raises:
        OSError: with the words of dlerror(3).
    """
    libc = ctypes.CDLL(None)
    libc.dlopen.restype = ctypes.c_void_p
    libc.dlopen.argtypes = [ctypes.c_char_p, ctypes.c_int]
    libc.dlerror.restype = ctypes.c_char_p
    handle = libc.dlopen(os.fsencode(path), os.RTLD_LAZY | os.RTLD_GLOBAL)
    if not handle:
        raise OSError((libc.dlerror() or b"dlopen failed").decode(errors="replace"))
    return int(handle)

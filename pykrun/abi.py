"""The C interface of libkrun as data: what each function is called, what it takes, and where it exists.

One row is a `Function`; `functions/` holds the rows, sorted by subject, and `FUNCTIONS` all of them by name. Nothing
here touches the library. A row's arguments are written as one short text, `"ctx:ctx vcpus:u8 ram:u32"`: name and kind
of each, in C order; `KINDS` says what a kind is in C and in Python.

Source of the facts: `include/libkrun.h` of https://github.com/containers/libkrun (1.x releases and the main branch) and
the exported symbols of the builds themselves.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum, Flag, auto
from typing import Any


class Family(Flag):
    """The builds that export a function. A binding must look symbols up, not trust this: it is for documentation."""

    STABLE = auto()
    """Releases 1.x (`libkrun.so.1`): Fedora, openSUSE, Arch, Homebrew."""

    DEVELOPMENT = auto()
    """The main branch, 2.0 in the making: nothing implicit, everything is a device that one adds."""

    SMOLMACHINES = auto()
    """The build in the `smolmachines` wheel (`libkrun.so.2`): close to the main branch, with additions."""


STABLE = Family.STABLE
DEVELOPMENT = Family.DEVELOPMENT
SMOLMACHINES = Family.SMOLMACHINES
EVERYWHERE = STABLE | DEVELOPMENT | SMOLMACHINES
RECENT = DEVELOPMENT | SMOLMACHINES


class Returns(Enum):
    """What a non-negative result means. A negative one is always an errno, negated, unless said otherwise here."""

    NOTHING = "0"
    CONTEXT = "the number of a context"
    DESCRIPTOR = "a file descriptor that belongs to the library"
    NUMBER = "a count or an index"
    FLAG = "1 for yes, 0 for no"
    TEXT = "a C string that the library owns, or NULL"
    NEVER = "does not return unless it failed"


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of argument.

    ctype: how it is passed.
    python: the type that a caller gives.
    low, high: bounds of a number, inclusive; both 0 for what is no number.
    """

    ctype: Any
    python: str
    low: int = 0
    high: int = 0


STRINGS = ctypes.POINTER(ctypes.c_char_p)
BYTES = ctypes.POINTER(ctypes.c_uint8)


def _number(ctype: Any, bits: int, *, signed: bool = False) -> Kind:
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    return Kind(ctype, "int", low, high)


KINDS: dict[str, Kind] = {
    "ctx": _number(ctypes.c_uint32, 32),
    "u8": _number(ctypes.c_uint8, 8),
    "u16": _number(ctypes.c_uint16, 16),
    "u32": _number(ctypes.c_uint32, 32),
    "u64": _number(ctypes.c_uint64, 64),
    "i32": _number(ctypes.c_int32, 32, signed=True),
    "size": _number(ctypes.c_size_t, 64),
    "fd": _number(ctypes.c_int, 32, signed=True),
    "bool": Kind(ctypes.c_bool, "bool"),
    "str": Kind(ctypes.c_char_p, "str"),
    "str?": Kind(ctypes.c_char_p, "str | None"),
    "strs": Kind(STRINGS, "sequence of str"),
    "strs?": Kind(STRINGS, "sequence of str | None"),
    "mac": Kind(BYTES, "6 bytes, or text aa:bb:cc:dd:ee:ff"),
    "bytes": Kind(BYTES, "bytes"),
    "pointer": Kind(ctypes.c_void_p, "ctypes object, address, or None"),
}
"""What may stand behind the colon in a row. `strs` becomes an array that ends in NULL; `fd` allows -1 for none."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One argument of a function: its name here, and its kind in `KINDS`."""

    name: str
    kind: str


@dataclass(frozen=True, slots=True)
class Function:
    """One function of libkrun.

    doc: what it does, units, and the errors that are its own.
    families: builds known to export it.
    """

    name: str
    arguments: tuple[Argument, ...]
    doc: str
    families: Family
    returns: Returns = Returns.NOTHING
    restype: Any = field(default=ctypes.c_int32, compare=False)

    @property
    def takes_context(self) -> bool:
        return bool(self.arguments) and self.arguments[0].kind == "ctx"

    def signature(self) -> str:
        """As a person writes it: `krun_set_vm_config(ctx: int, vcpus: int, ram_mib: int)`."""
        return f"{self.name}({', '.join(f'{a.name}: {KINDS[a.kind].python}' for a in self.arguments)})"


def row(
    name: str, arguments: str, doc: str, families: Family = EVERYWHERE, returns: Returns = Returns.NOTHING
) -> Function:
    """Make one row of the table from its short text.

    Raises:
        ValueError: an argument's kind is not in `KINDS`.
    """
    parsed = []
    for word in arguments.split():
        argument, _, kind = word.partition(":")
        if kind not in KINDS:
            raise ValueError(f"{name}: argument {word!r} has no kind of {sorted(KINDS)}")
        parsed.append(Argument(argument, kind))
    restype = ctypes.c_char_p if returns is Returns.TEXT else ctypes.c_int32
    return Function(name, tuple(parsed), " ".join(doc.split()), families, returns, restype)


def table(*groups: Iterable[Function]) -> dict[str, Function]:
    """Join groups of rows into one mapping by name.

    Raises:
        ValueError: two rows have one name.
    """
    joined: dict[str, Function] = {}
    for group in groups:
        for function in group:
            if function.name in joined:
                raise ValueError(f"two rows for {function.name}")
            joined[function.name] = function
    return joined


GENERAL_ERRORS = {
    "EINVAL": "an argument was refused (bad UTF-8, NULL where text is needed, out of range)",
    "ENOENT": "there is no context of that number",
    "ENOTSUP": "this build was made without the feature",
    "ENODEV": "the function needs a device that this context does not have (often: vsock)",
}
"""Errors that nearly every function with a context can give, and so no row repeats."""

"""From Python values to C arguments, checked against the table before the library sees them.

ctypes cuts a number to the width of its C type without a word, and libkrun reads a wrong array to its end, wherever
that is. So every value is checked here, and a wrong one is a `ValueError` or `TypeError` that names the argument.
"""

from __future__ import annotations

import ctypes
import re
from typing import Any

from pykrun.abi import KINDS, Argument, Function

MAX_STRINGS = 4095
"""libkrun reads at most 4,096 entries of an array, and the last has to be NULL."""

_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")


def arguments(function: Function, values: tuple[Any, ...]) -> list[Any]:
    """The C arguments of a call.

    Raises:
        TypeError: another number of values than the function takes, or a value of the wrong type.
        ValueError: a number out of range, a NUL in a text, a malformed MAC address.
    """
    if len(values) != len(function.arguments):
        raise TypeError(f"{function.signature()} takes {len(function.arguments)} arguments, not {len(values)}")
    return [_one(function, argument, value) for argument, value in zip(function.arguments, values, strict=True)]


def _one(function: Function, argument: Argument, value: Any) -> Any:
    kind = KINDS[argument.kind]
    where = f"{function.name}: {argument.name}"
    if kind.low != kind.high:
        if not isinstance(value, int) or isinstance(value, bool):
            raise TypeError(f"{where} is a number, not {value!r}")
        if not kind.low <= value <= kind.high:
            raise ValueError(f"{where} is {value}, but has to be from {kind.low} to {kind.high}")
        return kind.ctype(value)
    if argument.kind == "bool":
        if not isinstance(value, bool):
            raise TypeError(f"{where} is True or False, not {value!r}")
        return kind.ctype(value)
    if value is None and (argument.kind.endswith("?") or argument.kind == "pointer"):
        return None
    if argument.kind.startswith("strs"):
        return _strings(where, value)
    if argument.kind.startswith("str"):
        return _text(where, value)
    if argument.kind == "mac":
        return (ctypes.c_uint8 * 6).from_buffer_copy(mac(value, where))
    if argument.kind == "bytes":
        if not isinstance(value, bytes | bytearray):
            raise TypeError(f"{where} is bytes, not {value!r}")
        return (ctypes.c_uint8 * len(value)).from_buffer_copy(value)
    return value


def _text(where: str, value: Any) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{where} is a text, not {value!r}")
    if "\0" in value:
        raise ValueError(f"{where} holds a NUL character: {value!r}")
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"{where} is no UTF-8: {value!r}") from error


def _strings(where: str, value: Any) -> Any:
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__"):
        raise TypeError(f"{where} is a sequence of texts, not {value!r}")
    texts = [_text(where, one) for one in value]
    if len(texts) > MAX_STRINGS:
        raise ValueError(f"{where} has {len(texts)} entries, and libkrun reads {MAX_STRINGS}")
    return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)


def mac(value: Any, where: str = "mac") -> bytes:
    """Six bytes from bytes or from `aa:bb:cc:dd:ee:ff`.

    Raises:
        TypeError: neither of the two.
        ValueError: not six bytes.
    """
    if isinstance(value, str):
        if not _MAC.fullmatch(value):
            raise ValueError(f"{where} is a MAC address aa:bb:cc:dd:ee:ff, not {value!r}")
        return bytes.fromhex(value.replace(":", ""))
    if not isinstance(value, bytes | bytearray):
        raise TypeError(f"{where} is a MAC address, not {value!r}")
    if len(value) != 6:
        raise ValueError(f"{where} is 6 bytes, not {len(value)}")
    return bytes(value)

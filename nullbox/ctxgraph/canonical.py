"""JSON text in the one form that is hashed: RFC 8785, with the refusals that make it trustworthy. Pure.

The package `rfc8785` defines the form. Most values agents write (texts, whole numbers, ASCII member names) have
the same form under the standard library's C encoder, which is an order of magnitude faster; `_plain` says for
which values that is so, and a property test holds the two byte-equal.
"""

from __future__ import annotations

import json
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

MAX_VALUE = 256 * 1024
"""Longest value in bytes of its canonical text."""
MAX_DEPTH = 64
"""Deepest nesting of arrays and objects."""
MAX_INTEGER = 2**53 - 1
"""Largest integer that every JSON reader represents exactly (RFC 7493 §2.2)."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, sort_keys=True, separators=(",", ":"))


def canonical(value: Any) -> bytes:
    """The canonical text of a JSON value, UTF-8.

    Raises:
        NullBoxError: `invalid`: not a JSON value, an integer beyond 2^53-1, NaN or infinity, a lone surrogate, or
            nested deeper than MAX_DEPTH; `too_large`: longer than MAX_VALUE. The message says where and what.
    """
    try:
        if _plain(value, MAX_DEPTH, "$"):
            text = _ENCODER.encode(value).encode("utf-8")
        else:
            import rfc8785

            text = rfc8785.dumps(value)
    except UnicodeEncodeError:
        raise _invalid("the value holds a lone surrogate; texts must be valid Unicode") from None
    except ValueError as error:
        raise _invalid(f"the value has no canonical form: {error}") from None
    if len(text) > MAX_VALUE:
        raise NullBoxError(
            ErrorCode.TOO_LARGE,
            f"the value is {len(text)} bytes of canonical JSON; at most {MAX_VALUE} are allowed",
            {"limit": MAX_VALUE, "found": len(text)},
        )
    return text


def _plain(value: Any, depth: int, path: str) -> bool:
    """Check a value; say whether the C encoder writes it as RFC 8785 asks.

    It does not for floats (ECMAScript writes them differently) and may not for member names outside ASCII, which
    RFC 8785 sorts by UTF-16 code units.
    """
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is int:
        if -MAX_INTEGER <= value <= MAX_INTEGER:
            return True
        shown = str(value) if value.bit_length() < 200 else f"an integer of {value.bit_length()} bits"
        raise _invalid(f"{path}: {shown} is beyond ±(2^53-1), where JSON numbers lose digits; send it as a text")
    if kind is float:
        if value - value != 0.0:
            raise _invalid(f"{path}: {value} is not a JSON number; use null or a text")
        if MAX_INTEGER < abs(value) < 1e21 and value.is_integer():
            # Its canonical form has no exponent, so it would read back as an integer that is refused.
            raise _invalid(f"{path}: {value!r} is beyond ±(2^53-1) and has no exponent in RFC 8785; send it as a text")
        return False
    if depth == 0:
        raise _invalid(f"nested deeper than {MAX_DEPTH} levels at {path[:80]}; flatten the value")
    if kind is dict:
        plain = True
        for name, member in value.items():
            if type(name) is not str:
                raise _invalid(f"{path}: member names are texts, not {type(name).__name__}")
            plain &= name.isascii()
            kind = type(member)
            if kind is str or kind is bool or member is None:
                continue
            plain &= _plain(member, depth - 1, f"{path}.{name}")
        return plain
    if kind is list or kind is tuple:
        plain = True
        for index, member in enumerate(value):
            kind = type(member)
            if kind is str or kind is bool or member is None:
                continue
            plain &= _plain(member, depth - 1, f"{path}[{index}]")
        return plain
    raise _invalid(f"{path}: {kind.__name__} is not a JSON type")


def _invalid(message: str) -> NullBoxError:
    return NullBoxError(ErrorCode.INVALID, message)

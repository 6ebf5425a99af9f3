"""Take the parameters of a call apart: each by name, type and bounds, and none left over. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

_ABSENT = object()


class Params:
    """Reads the parameters of one call; `done` refuses what was not read.

    All methods raise NullBoxError `invalid` that names the parameter, what was found and what is right.
    """

    __slots__ = ("_left", "_method")

    def __init__(self, method: str, params: dict[str, Any]) -> None:
        self._method = method
        self._left = dict(params)

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def any(self, name: str) -> Any:
        """A parameter of any type that must be there (`null` counts as there)."""
        value = self._left.pop(name, _ABSENT)
        if value is _ABSENT:
            raise self._error(f'"{name}" is missing')
        return value

    def optional(self, name: str, default: Any = None) -> Any:
        """A parameter of any type; absent and `null` are the default."""
        value = self._left.pop(name, None)
        return default if value is None else value

    def text(self, name: str, default: str | None = None) -> str:
        value = self._left.pop(name, None)
        if value is None:
            if default is None:
                raise self._error(f'"{name}" is missing; give a text')
            return default
        if not isinstance(value, str):
            raise self._error(f'"{name}" must be a text, not {type(value).__name__}')
        return value

    def integer(self, name: str, default: int | None, low: int, high: int) -> int:
        value = self._left.pop(name, None)
        if value is None:
            if default is None:
                raise self._error(f'"{name}" is missing; give an integer')
            return default
        if type(value) is not int or not low <= value <= high:
            shown = repr(value) if isinstance(value, int | float) else type(value).__name__
            raise self._error(f'"{name}" must be an integer from {low} to {high}, not {shown}')
        return value

    def choice(self, name: str, choices: Sequence[str]) -> str:
        """One of the words; the first is the default."""
        value = self._left.pop(name, None)
        if value is None:
            return choices[0]
        if value not in choices:
            raise self._error(f'"{name}" must be one of {", ".join(choices)}, not {str(value)[:40]!r}')
        return str(value)

    def flag(self, name: str) -> bool:
        """False unless given."""
        value = self._left.pop(name, None)
        if value is not None and not isinstance(value, bool):
            raise self._error(f'"{name}" must be true or false, not {type(value).__name__}')
        return bool(value)

    def done(self) -> None:
        if self._left:
            names = ", ".join(repr(name[:40]) for name in sorted(self._left))
            raise self._error(f"unknown parameters: {names}")

    def _error(self, message: str) -> NullBoxError:
        return NullBoxError(ErrorCode.INVALID, f"{self._method}: {message}")

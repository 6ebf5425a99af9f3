"""What a message's fields may hold: checks made from annotations, once per class. Pure.

The checks are strict: no value is converted, and what is not allowed raises `CodecError` with the field, what was
found and what would be right. They run on both sides, so that a sender learns of its own mistake.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from nullbox.protocols.messages import Address

MAX_ITEMS = 4096
"""Most items of one list or mapping.

msgpack allocates an array before it reads the items, and nests up to 512 of them, so this and not the length of
the packet bounds what a malicious header costs: 4096 items x 512 levels, about 2 million entries at most.
"""
MAX_DEPTH = 32
"""Most levels of lists, mappings and messages inside one another."""
MAX_NAME = 64
"""Longest name of an `Address`, in bytes."""

Check = Callable[[Any, str, int], None]
"""(value, where it stands, levels left) → None, or CodecError."""
Field = tuple[str, frozenset[type], Check, str]
"""Name, the exact types that need no check, the check for all others, and where the field stands."""

PLAIN = frozenset({type(None), bool, int, float, str, bytes})
_SCALARS: dict[Any, tuple[frozenset[type], type | None]] = {
    type(None): (frozenset({type(None)}), None),
    bool: (frozenset({bool}), None),
    int: (frozenset({int}), int),
    float: (frozenset({float, int}), None),
    str: (frozenset({str}), str),
    bytes: (frozenset({bytes}), None),
}
"""Annotation → exact types accepted, and a base whose subclasses (a StrEnum) are accepted as well."""


class CodecError(ValueError):
    """Bytes that are no message, or a value that cannot be one. Says what was found and what would be right."""


class Checks:
    """The checks of one registry's classes (tag → frozen dataclass)."""

    def __init__(self, registry: Mapping[str, type]) -> None:
        self._registry = registry
        self.plans: dict[type, list[Field]] = {}
        """What `plan` has made so far."""

    def plan(self, kind: type) -> list[Field]:
        """The fields of a class, in order, with their checks.

        Raises:
            TypeError: an annotation that no message can have.
        """
        plan = self.plans.get(kind)
        if plan is None:
            hints = typing.get_type_hints(kind)
            plan = [
                (field.name, *self._compile(hints[field.name]), f"{kind.__name__}.{field.name}")
                for field in dataclasses.fields(kind)
            ]
            self.plans[kind] = plan
        return plan

    def _compile(self, hint: Any) -> tuple[frozenset[type], Check]:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return PLAIN, self._any
        if hint is Address:
            return frozenset(), _address
        if hint in _SCALARS:
            return _SCALARS[hint][0], _scalar(hint)
        if origin in (typing.Union, types.UnionType):
            return _union([self._compile(each) for each in arguments], str(hint))
        if origin is list:
            return frozenset(), _list(*self._compile(arguments[0]))
        if origin is dict and arguments[0] is str:
            return frozenset(), _mapping(*self._compile(arguments[1]))
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return frozenset(), self._nested(hint)
        raise TypeError(f"no message field can be of type {hint!r}")

    def _nested(self, kind: type) -> Check:
        def check(value: Any, where: str, depth: int) -> None:
            if type(value) is not kind:
                raise wrong(where, kind.__name__, value)
            self._message(value, where, depth)

        return check

    def _message(self, value: Any, where: str, depth: int) -> None:
        if depth <= 0:
            raise too_deep(where)
        for name, at_once, check, _where in self.plan(type(value)):
            field = getattr(value, name)
            if type(field) not in at_once:
                check(field, f"{where}.{name}", depth - 1)

    def _any(self, value: Any, where: str, depth: int) -> None:
        """Plain data of any shape: see the module `messages` for what that is."""
        kind = type(value)
        if kind is dict:
            if depth <= 0 or len(value) > MAX_ITEMS:
                raise _too_large(value, where, depth)
            for key, each in value.items():
                if type(key) is not str and not isinstance(key, str):
                    raise wrong(f"a key of {where}", "str", key)
                if type(each) not in PLAIN:
                    self._any(each, where, depth - 1)
        elif kind is list:
            _items(value, where, depth, PLAIN, self._any)
        elif kind is Address:
            _address(value, where, depth)
        elif self._registry.get(kind.__name__) is kind:
            self._message(value, where, depth)
        elif kind not in PLAIN and not isinstance(value, (str, int)):  # an Enum of those travels as its value
            raise wrong(where, "plain data", value)


def _scalar(hint: Any) -> Check:
    allowed, base = _SCALARS[hint]

    def check(value: Any, where: str, _depth: int) -> None:
        if type(value) not in allowed and (base is None or isinstance(value, bool) or not isinstance(value, base)):
            raise wrong(where, getattr(hint, "__name__", str(hint)), value)

    return check


def _union(parts: list[tuple[frozenset[type], Check]], name: str) -> tuple[frozenset[type], Check]:
    at_once: frozenset[type] = frozenset().union(*[types_ for types_, _check in parts])

    def check(value: Any, where: str, depth: int) -> None:
        if type(value) in at_once:
            return None
        reasons = []
        for _types, each in parts:
            try:
                return each(value, where, depth)
            except CodecError as error:
                reasons.append(error)
        within = [error for error in reasons if not str(error).startswith(f"{where} must be ")]
        raise within[0] if within else wrong(where, name, value)

    return at_once, check


def _list(at_once: frozenset[type], item: Check) -> Check:
    def check(value: Any, where: str, depth: int) -> None:
        if type(value) is not list:
            raise wrong(where, "list", value)
        _items(value, where, depth, at_once, item)

    return check


def _mapping(at_once: frozenset[type], item: Check) -> Check:
    def check(value: Any, where: str, depth: int) -> None:
        if type(value) is not dict:
            raise wrong(where, "mapping", value)
        _pairs(value, where, depth, at_once, item)

    return check


def _items(value: list[Any], where: str, depth: int, at_once: frozenset[type], item: Check) -> None:
    if depth <= 0 or len(value) > MAX_ITEMS:
        raise _too_large(value, where, depth)
    for each in value:
        if type(each) not in at_once:
            item(each, where, depth - 1)


def _pairs(value: dict[Any, Any], where: str, depth: int, at_once: frozenset[type], item: Check) -> None:
    if depth <= 0 or len(value) > MAX_ITEMS:
        raise _too_large(value, where, depth)
    for key, each in value.items():
        if type(key) is not str and not isinstance(key, str):
            raise wrong(f"a key of {where}", "str", key)
        if type(each) not in at_once:
            item(each, where, depth - 1)


def _address(value: Any, where: str, _depth: int) -> None:
    if type(value) is not Address:
        raise wrong(where, "Address", value)
    name = value.name
    if type(name) is not str or not 1 <= len(name) <= MAX_NAME or not name.isascii():
        raise CodecError(f"{where} names no mailbox: {short(name)}; 1 to {MAX_NAME} ASCII characters are right")


def wrong(where: str, expected: str, value: object) -> CodecError:
    return CodecError(f"{where} must be {expected}, not {type(value).__name__} {short(value)}")


def too_deep(where: str) -> CodecError:
    return CodecError(f"{where} is nested more than {MAX_DEPTH} deep")


def _too_large(value: list[Any] | dict[Any, Any], where: str, depth: int) -> CodecError:
    if depth <= 0:
        return too_deep(where)
    return CodecError(f"{where} has {len(value)} items; the limit is {MAX_ITEMS}")


def short(value: object) -> str:
    """A value as part of an error's text."""
    if isinstance(value, (str, bytes)):
        return repr(value[:40])
    if isinstance(value, (list, dict)):
        return f"of {len(value)} items"
    return repr(value)[:60]

"""Messages ⇄ bytes: msgpack with a version and a type tag, strict in both directions.

A packet is one version byte and one msgpack array, `[tag, field, …]`, fields in the order of the dataclass.
An `Address` is extension type 1, a message inside a message is extension type 2 (again `[tag, field, …]`).
Everything else is what msgpack calls nil, boolean, integer, float, string, binary, array and map; map keys are
strings. msgpack: https://github.com/msgpack/msgpack/blob/master/spec.md

Input is hostile until proved otherwise: whatever is wrong with it raises `CodecError` and nothing else, after
bounded work. No class is ever imported or called because a packet names it: a tag is looked up in a registry.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

import msgpack

from nullbox.protocols.messages import REGISTRY, Address

VERSION = 1
MAX_BYTES = 64 * 1024 * 1024
"""Largest encoded message."""
MAX_ITEMS = 4096
"""Most items of one list or mapping.

msgpack allocates an array before it reads the items, and nests up to 512 of them, so this and not the length of
the packet bounds what a malicious header costs: 4096 items x 512 levels, about 2 million entries at most.
"""
MAX_NODES = 65_536
"""Most items of all lists and mappings of a message together: an empty list is one byte on the wire and 56 in
memory. Bulk data travels as `bytes`."""
MAX_DEPTH = 32
"""Most levels of lists, mappings and messages inside one another."""
MAX_NAME = 64
"""Longest name of an `Address`, in bytes."""

EXT_ADDRESS = 1
EXT_MESSAGE = 2

Check = Callable[[Any, str, int], None]
"""(value, where it stands, levels left) → None, or CodecError."""


class CodecError(ValueError):
    """Bytes that are no message, or a value that cannot be one. Says what was found and what would be right."""


class _Nested:
    """A message inside a message, not decoded yet."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body


class _Budget:
    """What one packet may still cost, shared by all the messages inside one another."""

    __slots__ = ("left", "nested")

    def __init__(self) -> None:
        self.left = MAX_NODES
        self.nested = False

    def count(self, container: Any) -> Any:
        self.left -= len(container) + 1
        if self.left < 0:
            raise CodecError(f"more than {MAX_NODES} items in a message")
        return container

    def extension(self, code: int, body: bytes) -> Any:
        if code == EXT_ADDRESS:
            return _address(body)
        if code == EXT_MESSAGE:
            self.nested = True
            return _Nested(body)
        raise CodecError(f"extension type {code}; known are {EXT_ADDRESS} and {EXT_MESSAGE}")


class Codec:
    """Encodes and decodes the classes of one registry (tag → frozen dataclass)."""

    def __init__(self, registry: Mapping[str, type]) -> None:
        self._registry = registry
        self._plans: dict[type, list[tuple[str, Check]]] = {}
        self._packer = msgpack.Packer(default=self._extend, use_bin_type=True, autoreset=True)

    # --- public ----------------------------------------------------------------------------------------

    def encode(self, message: object) -> bytes:
        """The bytes of `message`.

        Raises:
            CodecError: its class is not registered, a field is of a wrong type, or it is too large or too deep.
        """
        try:
            packed: bytes = self._packer.pack(self._flatten(message, MAX_DEPTH))
        except CodecError:
            self._packer.reset()
            raise
        except Exception as error:  # OverflowError, UnicodeEncodeError, msgpack's own: all mean "not encodable"
            self._packer.reset()
            raise CodecError(f"{type(message).__name__} cannot be encoded: {error}") from error
        if len(packed) >= MAX_BYTES:
            raise CodecError(f"{type(message).__name__} takes {len(packed)} bytes; the limit is {MAX_BYTES}")
        return bytes((VERSION,)) + packed

    def decode(self, packet: bytes | bytearray | memoryview) -> Any:
        """The message in `packet`.

        Raises:
            CodecError: and no other exception, whatever the bytes are.
        """
        if not 2 <= len(packet) <= MAX_BYTES:
            raise CodecError(f"a packet of {len(packet)} bytes; 2 to {MAX_BYTES} are allowed")
        if packet[0] != VERSION:
            raise CodecError(f"packet of version {packet[0]}; this is version {VERSION}")
        return self._decode_array(memoryview(packet)[1:], MAX_DEPTH, _Budget())

    # --- encoding --------------------------------------------------------------------------------------

    def _flatten(self, message: object, depth: int) -> list[Any]:
        kind = type(message)
        tag = kind.__name__
        if self._registry.get(tag) is not kind:
            raise CodecError(f"{kind.__module__}.{tag} is no registered message; give it the @message decorator")
        flat: list[Any] = [tag]
        for name, check in self._plan(kind):
            value = getattr(message, name)
            check(value, f"{tag}.{name}", depth)
            flat.append(value)
        return flat

    def _extend(self, value: object) -> msgpack.ExtType:
        """msgpack's hook for what it does not know. Depth was checked on the way down by the field's check."""
        if type(value) is Address:
            return msgpack.ExtType(EXT_ADDRESS, value.name.encode())
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = msgpack.packb(self._flatten(value, MAX_DEPTH), default=self._extend, use_bin_type=True)
            return msgpack.ExtType(EXT_MESSAGE, inner)
        raise CodecError(f"a {type(value).__name__} cannot be part of a message")

    # --- decoding --------------------------------------------------------------------------------------

    def _decode_array(self, data: bytes | memoryview, depth: int, budget: _Budget) -> Any:
        try:
            flat = msgpack.unpackb(
                data,
                raw=False,
                strict_map_key=True,
                ext_hook=budget.extension,
                list_hook=budget.count,
                object_hook=budget.count,
                max_array_len=MAX_ITEMS,
                max_map_len=MAX_ITEMS,
            )
        except CodecError:
            raise
        except Exception as error:  # msgpack raises ValueError, its own family, and UnicodeDecodeError
            raise CodecError(f"not msgpack: {type(error).__name__} {error}") from error
        if budget.nested and type(flat) is list:
            budget.nested = False
            for index, each in enumerate(flat):
                flat[index] = self._expand(each, depth, budget)
        return self._build(flat, depth)

    def _expand(self, value: Any, depth: int, budget: _Budget) -> Any:
        """Decode the messages inside `value`; only now, when nothing half-read is held in memory any more."""
        kind = type(value)
        if kind not in _CONTAINERS:
            return value
        if depth <= 0:
            raise _too_deep("a message")
        if kind is _Nested:
            return self._decode_array(value.body, depth - 1, budget)
        for key, each in enumerate(value) if kind is list else value.items():
            value[key] = self._expand(each, depth - 1, budget)
        return value

    def _build(self, flat: Any, depth: int) -> Any:
        if type(flat) is not list or not flat or type(flat[0]) is not str:
            raise CodecError(f"a message is an array that begins with its tag, not {_short(flat)}")
        kind = self._registry.get(flat[0])
        if kind is None:
            raise CodecError(f"unknown message {_short(flat[0])}")
        plan = self._plan(kind)
        if len(flat) != len(plan) + 1:
            raise CodecError(f"{flat[0]} has {len(plan)} fields, not {len(flat) - 1}")
        for (name, check), value in zip(plan, flat[1:], strict=True):
            check(value, f"{flat[0]}.{name}", depth)
        return kind(*flat[1:])

    def _plan(self, kind: type) -> list[tuple[str, Check]]:
        plan = self._plans.get(kind)
        if plan is None:
            hints = typing.get_type_hints(kind)
            plan = [(field.name, self._compile(hints[field.name])) for field in dataclasses.fields(kind)]
            self._plans[kind] = plan
        return plan

    # --- checks, compiled once per class ---------------------------------------------------------------

    def _compile(self, hint: Any) -> Check:
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        if hint is Any:
            return self._check_any
        if hint in _SCALARS:
            return _scalar(hint)
        if origin in (typing.Union, types.UnionType):
            return _union([self._compile(each) for each in arguments], str(hint))
        if origin is list:
            return _list(self._compile(arguments[0]))
        if origin is dict and arguments[0] is str:
            return _mapping(self._compile(arguments[1]))
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            return self._nested(hint)
        raise TypeError(f"no message field can be of type {hint!r}")

    def _nested(self, kind: type) -> Check:
        def check(value: Any, where: str, depth: int) -> None:
            if type(value) is not kind:
                raise _wrong(where, kind.__name__, value)
            self._check_message(value, where, depth)

        return check

    def _check_message(self, value: Any, where: str, depth: int) -> None:
        if depth <= 0:
            raise _too_deep(where)
        for name, check in self._plan(type(value)):
            check(getattr(value, name), f"{where}.{name}", depth - 1)

    def _check_any(self, value: Any, where: str, depth: int) -> None:
        """Plain data of any shape: see the module `messages` for what that is."""
        kind = type(value)
        if kind in _PLAIN:
            return
        if kind is list:
            _check_items(value, where, depth, self._check_any)
        elif kind is dict:
            _check_pairs(value, where, depth, self._check_any)
        elif kind is Address:
            _check_address(value, where, depth)
        elif self._registry.get(kind.__name__) is kind:
            self._check_message(value, where, depth)
        elif not isinstance(value, (str, int)):  # an Enum of strings or integers travels as its value
            raise _wrong(where, "plain data", value)


_CONTAINERS = frozenset({list, dict, _Nested})
_PLAIN = frozenset({type(None), bool, int, float, str, bytes})


def _scalar(hint: Any) -> Check:
    allowed, base = _SCALARS[hint]

    def check(value: Any, where: str, depth: int) -> None:
        if type(value) in allowed:
            if hint is Address:
                _check_address(value, where, depth)
            return
        if base is None or isinstance(value, bool) or not isinstance(value, base):
            raise _wrong(where, getattr(hint, "__name__", str(hint)), value)

    return check


_SCALARS: dict[Any, tuple[frozenset[type], type | None]] = {
    type(None): (frozenset({type(None)}), None),
    bool: (frozenset({bool}), None),
    int: (frozenset({int}), int),
    float: (frozenset({float, int}), None),
    str: (frozenset({str}), str),
    bytes: (frozenset({bytes}), None),
    Address: (frozenset({Address}), None),
}
"""Annotation → exact types accepted at once, and a base whose subclasses (a StrEnum) are accepted as well."""


def _union(checks: list[Check], name: str) -> Check:
    def check(value: Any, where: str, depth: int) -> None:
        reasons = []
        for each in checks:
            try:
                return each(value, where, depth)
            except CodecError as error:
                reasons.append(error)
        within = [error for error in reasons if not str(error).startswith(f"{where} must be ")]
        raise within[0] if within else _wrong(where, name, value)

    return check


def _list(item: Check) -> Check:
    def check(value: Any, where: str, depth: int) -> None:
        if type(value) is not list:
            raise _wrong(where, "list", value)
        _check_items(value, where, depth, item)

    return check


def _mapping(item: Check) -> Check:
    def check(value: Any, where: str, depth: int) -> None:
        if type(value) is not dict:
            raise _wrong(where, "mapping", value)
        _check_pairs(value, where, depth, item)

    return check


def _check_items(value: list[Any], where: str, depth: int, item: Check) -> None:
    _check_size(value, where, depth)
    for each in value:
        item(each, where, depth - 1)


def _check_pairs(value: dict[Any, Any], where: str, depth: int, item: Check) -> None:
    _check_size(value, where, depth)
    for key, each in value.items():
        if not isinstance(key, str):
            raise _wrong(f"a key of {where}", "str", key)
        item(each, where, depth - 1)


def _check_size(value: list[Any] | dict[Any, Any], where: str, depth: int) -> None:
    if depth <= 0:
        raise _too_deep(where)
    if len(value) > MAX_ITEMS:
        raise CodecError(f"{where} has {len(value)} items; the limit is {MAX_ITEMS}")


def _check_address(value: Address, where: str, depth: int) -> None:
    name = value.name
    if type(name) is not str or not 1 <= len(name) <= MAX_NAME or not name.isascii():
        raise CodecError(f"{where} names no mailbox: {_short(name)}; 1 to {MAX_NAME} ASCII characters are right")


def _address(body: bytes) -> Address:
    try:
        return Address(bytes(body).decode("ascii"))  # length and emptiness: the field's check
    except UnicodeDecodeError as error:
        raise CodecError(f"an address that is not ASCII: {_short(body)}") from error


def _wrong(where: str, expected: str, value: object) -> CodecError:
    return CodecError(f"{where} must be {expected}, not {type(value).__name__} {_short(value)}")


def _too_deep(where: str) -> CodecError:
    return CodecError(f"{where} is nested more than {MAX_DEPTH} deep")


def _short(value: object) -> str:
    if isinstance(value, (str, bytes)):
        return repr(value[:40])
    if isinstance(value, (list, dict)):
        return f"of {len(value)} items"
    return repr(value)[:60]


_MESSAGES = Codec(REGISTRY)
encode = _MESSAGES.encode
decode = _MESSAGES.decode

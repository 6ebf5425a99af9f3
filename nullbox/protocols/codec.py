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
import threading
from collections.abc import Mapping
from typing import Any

import msgpack

from nullbox.protocols.codec_checks import MAX_DEPTH, MAX_ITEMS, Checks, CodecError, short, too_deep
from nullbox.protocols.messages import REGISTRY, Address

__all__ = ["MAX_BYTES", "MAX_DEPTH", "MAX_ITEMS", "MAX_NODES", "Codec", "CodecError", "decode", "encode"]

VERSION = 1
MAX_BYTES = 64 * 1024 * 1024
"""Largest encoded message."""
MAX_NODES = 65_536
"""Most items of all lists and mappings of a message together: an empty list is one byte on the wire and 56 in
memory. Bulk data travels as `bytes`."""
EXT_ADDRESS = 1
EXT_MESSAGE = 2

PREFIX = bytes((VERSION,))
_LIMITS = {"raw": False, "strict_map_key": True, "max_array_len": MAX_ITEMS, "max_map_len": MAX_ITEMS}


class _Nested:
    """A message inside a message, not decoded yet."""

    __slots__ = ("body",)

    def __init__(self, body: bytes) -> None:
        self.body = body


class _HasNested(Exception):
    """The fast way found a message inside the message."""


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
        if code == EXT_MESSAGE:
            self.nested = True
            return _Nested(body)
        return _extension(code, body)


_CONTAINERS = frozenset({list, dict, _Nested})


def _extension(code: int, body: bytes) -> Any:
    if code == EXT_ADDRESS:
        return _address(body)
    if code == EXT_MESSAGE:
        raise _HasNested
    raise CodecError(f"extension type {code}; known are {EXT_ADDRESS} and {EXT_MESSAGE}")


class Codec:
    """Encodes and decodes the classes of one registry (tag → frozen dataclass). Works in every thread."""

    def __init__(self, registry: Mapping[str, type]) -> None:
        self._registry = registry
        checks = Checks(registry)
        self._plan, self._plans = checks.plan, checks.plans
        self._packers = threading.local()

    # --- public ----------------------------------------------------------------------------------------

    def encode(self, message: object) -> bytes:
        """The bytes of `message`.

        Raises:
            CodecError: its class is not registered, a field is of a wrong type, or it is too large or too deep.
        """
        packer = getattr(self._packers, "own", None)
        if packer is None:
            packer = self._packers.own = msgpack.Packer(default=self._extend, use_bin_type=True, autoreset=True)
        try:
            packed: bytes = packer.pack(self._flatten(message))
        except CodecError:
            packer.reset()
            raise
        except Exception as error:  # OverflowError, UnicodeEncodeError, msgpack's own: all mean "not encodable"
            packer.reset()
            raise CodecError(f"{type(message).__name__} cannot be encoded: {error}") from error
        if len(packed) >= MAX_BYTES:
            raise CodecError(f"{type(message).__name__} takes {len(packed)} bytes; the limit is {MAX_BYTES}")
        return PREFIX + packed

    def decode(self, packet: bytes | bytearray | memoryview) -> Any:
        """The message in `packet`.

        Raises:
            CodecError: and no other exception, whatever the bytes are.
        """
        size = len(packet)
        if not 2 <= size <= MAX_BYTES:
            raise CodecError(f"a packet of {size} bytes; 2 to {MAX_BYTES} are allowed")
        if packet[0] != VERSION:
            raise CodecError(f"packet of version {packet[0]}; this is version {VERSION}")
        data = memoryview(packet)[1:]
        if size <= MAX_ITEMS:  # every item takes a byte at least, so nothing needs to be counted
            try:
                return self._build(msgpack.unpackb(data, ext_hook=_extension), MAX_DEPTH)
            except CodecError:
                raise
            except _HasNested:
                pass
            except Exception as error:
                raise _no_msgpack(error) from error
        return self._decode_array(data, MAX_DEPTH, _Budget())

    # --- encoding --------------------------------------------------------------------------------------

    def _flatten(self, message: object) -> list[Any]:
        kind = type(message)
        tag = kind.__name__
        if self._registry.get(tag) is not kind:
            raise CodecError(f"{kind.__module__}.{tag} is no registered message; give it the @message decorator")
        flat: list[Any] = [tag]
        for name, at_once, check, where in self._plans.get(kind) or self._plan(kind):
            value = getattr(message, name)
            if type(value) not in at_once:
                check(value, where, MAX_DEPTH)
            flat.append(value)
        return flat

    def _extend(self, value: object) -> msgpack.ExtType:
        """msgpack's hook for what it does not know. Depth was checked on the way down by the field's check."""
        if type(value) is Address:
            return msgpack.ExtType(EXT_ADDRESS, value.name.encode())
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            inner = msgpack.packb(self._flatten(value), default=self._extend, use_bin_type=True)
            return msgpack.ExtType(EXT_MESSAGE, inner)
        raise CodecError(f"a {type(value).__name__} cannot be part of a message")

    # --- decoding --------------------------------------------------------------------------------------

    def _decode_array(self, data: bytes | memoryview, depth: int, budget: _Budget) -> Any:
        try:
            flat = msgpack.unpackb(
                data, ext_hook=budget.extension, list_hook=budget.count, object_hook=budget.count, **_LIMITS
            )
        except CodecError:
            raise
        except Exception as error:
            raise _no_msgpack(error) from error
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
            raise too_deep("a message")
        if kind is _Nested:
            return self._decode_array(value.body, depth - 1, budget)
        for key, each in enumerate(value) if kind is list else value.items():
            value[key] = self._expand(each, depth - 1, budget)
        return value

    def _build(self, flat: Any, depth: int) -> Any:
        if type(flat) is not list or not flat or type(flat[0]) is not str:
            raise CodecError(f"a message is an array that begins with its tag, not {short(flat)}")
        kind = self._registry.get(flat[0])
        if kind is None:
            raise CodecError(f"unknown message {short(flat[0])}")
        plan = self._plans.get(kind) or self._plan(kind)
        if len(flat) != len(plan) + 1:
            raise CodecError(f"{flat[0]} has {len(plan)} fields, not {len(flat) - 1}")
        del flat[0]
        for (_name, at_once, check, where), value in zip(plan, flat):  # noqa: B905 - compared above
            if type(value) not in at_once:
                check(value, where, depth)
        return kind(*flat)


def _address(body: bytes) -> Address:
    try:
        return Address(bytes(body).decode("ascii"))  # length and emptiness: the field's check
    except UnicodeDecodeError as error:
        raise CodecError(f"an address that is not ASCII: {short(body)}") from error


def _no_msgpack(error: Exception) -> CodecError:
    """msgpack raises ValueError, UnicodeDecodeError and a family of its own."""
    return CodecError(f"not msgpack: {type(error).__name__} {error}")


_MESSAGES = Codec(REGISTRY)
encode = _MESSAGES.encode
decode = _MESSAGES.decode

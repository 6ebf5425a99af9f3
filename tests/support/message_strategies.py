"""Hypothesis strategies for every registered message, made from its annotations."""

from __future__ import annotations

import dataclasses
import types
import typing
from typing import Any

from hypothesis import strategies as st

from nullbox.protocols.messages import REGISTRY, Address, ExitReason, Ping

TEXT = st.text(alphabet=st.characters(codec="utf-8"), max_size=20)
ADDRESS = st.builds(Address, st.text(alphabet="abcdefghijklmnopqrstuvwxyz.0123456789", min_size=1, max_size=40))
INTEGER = st.integers(-(2**63), 2**64 - 1)
FLOAT = st.floats(allow_nan=False)
SCALAR = st.none() | st.booleans() | INTEGER | FLOAT | TEXT | st.binary(max_size=40)
INNER = st.builds(Ping, INTEGER) | st.builds(ExitReason, TEXT, TEXT, st.none() | INTEGER)
ANY = st.recursive(
    SCALAR | ADDRESS | INNER,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)


def of_hint(hint: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        Any: ANY,
        type(None): st.none(),
        bool: st.booleans(),
        int: INTEGER,
        float: FLOAT,
        str: TEXT,
        bytes: st.binary(max_size=60),
        Address: ADDRESS,
    }
    if hint in simple:
        return simple[hint]
    if origin in (typing.Union, types.UnionType):
        return st.one_of([of_hint(each) for each in arguments])
    if origin is list:
        return st.lists(of_hint(arguments[0]), max_size=5)
    if origin is dict:
        return st.dictionaries(TEXT, of_hint(arguments[1]), max_size=5)
    return of_class(hint)


def of_class(cls: type) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(cls)
    return st.builds(cls, *[of_hint(hints[field.name]) for field in dataclasses.fields(cls)])


def any_message() -> st.SearchStrategy[Any]:
    """A message of any class in the registry now."""
    return st.one_of([of_class(cls) for cls in REGISTRY.values()])

"""Which method takes which message: `on_<name in snake case>`, one table per class. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def method_name(tag: str) -> str:
    """`TreeQuery` → `on_tree_query`."""
    return "on_" + _HUMP.sub("_", tag).lower()


def table(cls: type, registry: Mapping[str, type]) -> dict[type, str]:
    """Message class → name of the method of `cls` that takes it.

    Raises:
        TypeError: a method `on_…` matches no message, so it would never run.
    """
    by_method = {method_name(tag): message for tag, message in registry.items()}
    handlers = {by_method[name]: name for name in dir(cls) if name in by_method and callable(getattr(cls, name))}
    unknown = sorted(name for name in dir(cls) if name.startswith("on_") and name not in by_method)
    if unknown:
        raise TypeError(f"{cls.__name__}.{unknown[0]} matches no registered message")
    return handlers


_made: dict[type, dict[type, str]] = {}


def handlers_of(cls: type, registry: Mapping[str, type]) -> dict[type, str]:
    """The table of a class, made once.

    Raises:
        TypeError: see `table`.
    """
    if cls not in _made:
        _made[cls] = table(cls, registry)
    return _made[cls]

"""Imports of foreign packages without what they name and nothing here uses: it costs a start time, and memory for good.

Effects: changes `sys.modules` for a moment.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from types import ModuleType

StandIns = Mapping[str, Mapping[str, object]]
"""Module → what is imported from it by name."""


@contextlib.contextmanager
def stood_in(stand_ins: StandIns) -> Iterator[None]:
    """Those modules that are not loaded are there, with this content only, and gone afterwards."""
    put = []
    for name, content in stand_ins.items():
        if name not in sys.modules:
            module = ModuleType(name)
            module.__dict__.update(content)
            sys.modules[name] = module
            put.append(name)
    try:
        yield
    finally:
        for name in put:
            del sys.modules[name]

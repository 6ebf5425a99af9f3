"""Put the fail points into a program, from outside. Changes classes and modules of this process and its children."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from typing import Any

from nullbox.chaos.board import Board, When
from nullbox.chaos.faults import Fault, commit
from nullbox.chaos.points import POINTS, Point


def weave(board: Board, owners: frozenset[str]) -> None:
    """Wrap every effect of these owners. To be called once, before anything is forked.

    Raises:
        ImportError, AttributeError: the table names something that is not there.
    """
    for index, point in enumerate(POINTS):
        if point.owner in owners:
            holder, name = locate(point)
            original = holder.__dict__.get(name)
            if isinstance(original, classmethod):
                setattr(holder, name, classmethod(wrapped(board, index, point, original.__func__)))
            else:
                setattr(holder, name, wrapped(board, index, point, getattr(holder, name)))


def locate(point: Point) -> tuple[Any, str]:
    """The class or module that holds the effect, and its name there."""
    module, _, path = point.target.partition(":")
    *outer, name = path.split(".")
    holder: Any = importlib.import_module(module)
    for part in outer:
        holder = getattr(holder, part)
    getattr(holder, name)
    return holder, name


def wrapped(board: Board, index: int, point: Point, effect: Callable[..., Any]) -> Callable[..., Any]:
    """The effect between its two fail points."""

    @functools.wraps(effect)
    def between(*arguments: Any, **options: Any) -> Any:
        fault = board.passing(index, When.BEFORE)
        if fault:
            commit(Fault(fault), f"{point.name} before")
        result = effect(*arguments, **options)
        fault = board.passing(index, When.AFTER)
        if fault:
            commit(Fault(fault), f"{point.name} after")
        return result

    return between

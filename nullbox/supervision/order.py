"""In which order children start: dependencies first. Kahn's algorithm (CACM 5/11, 1962), stable, naming the cycle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from heapq import heapify, heappop, heappush

from nullbox.protocols.errors import ErrorCode, NullBoxError


def start_order(depends_on: Mapping[str, Iterable[str]]) -> list[str]:
    """Every name after all that it depends on; otherwise in the order given.

    Raises:
        NullBoxError: `invalid`, for an unknown name or a cycle, which the message spells out.
    """
    names = list(depends_on)
    place = {name: index for index, name in enumerate(names)}
    missing: dict[str, int] = {}
    dependents: dict[str, list[str]] = {name: [] for name in names}
    for name in names:
        needed = set(depends_on[name])
        for other in needed:
            if other not in place:
                raise NullBoxError(
                    ErrorCode.INVALID,
                    f"{name} depends on {other!r}, which does not exist; there are: {', '.join(names)}",
                )
            dependents[other].append(name)
        missing[name] = len(needed)
    free = [place[name] for name in names if missing[name] == 0]
    heapify(free)
    order: list[str] = []
    while free:
        name = names[heappop(free)]
        order.append(name)
        for other in dependents[name]:
            missing[other] -= 1
            if missing[other] == 0:
                heappush(free, place[other])
    if len(order) < len(names):
        cycle = find_cycle(depends_on, [name for name in names if missing[name]])
        raise NullBoxError(
            ErrorCode.INVALID,
            f"these depend on each other in a circle, so none could start first: {' -> '.join(cycle)}",
        )
    return order


def stop_order(depends_on: Mapping[str, Iterable[str]]) -> list[str]:
    """The reverse: every name before all that it depends on."""
    return start_order(depends_on)[::-1]


def find_cycle(depends_on: Mapping[str, Iterable[str]], among: list[str]) -> list[str]:
    """One cycle as a path that ends where it began. `among`: names each of which needs another of them."""
    stuck = set(among)
    path: list[str] = []
    name = among[0]
    while name not in path:
        path.append(name)
        name = next(other for other in depends_on[name] if other in stuck)
    return [*path[path.index(name) :], name]

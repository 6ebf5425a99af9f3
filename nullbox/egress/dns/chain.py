"""From a granted name along its aliases to addresses, and which of those may be told. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address

from nullbox.egress.addresses import Address
from nullbox.egress.dns.wire import CNAME, A, Record

MAX_HOPS = 12
MAX_ADDRESSES = 32
"""Addresses of one answer that are opened and told; the rest are left out of both."""
MIN_TTL = 5
"""Seconds. Below this an agent would ask again before each connection, for nothing."""
MAX_TTL = 3600
"""Seconds. No answer, however sure of itself, opens an address for longer at a time."""


class Loop(Exception):
    """The aliases lead in a circle, or too far."""


@dataclass(frozen=True, slots=True)
class Walk:
    """Where the records lead. Without addresses, `at` is the name to ask for next, or the end of the chain.

    ttl: the smallest on the way, in seconds; None before the first record.
    """

    at: str
    addresses: tuple[str, ...] = ()
    ttl: int | None = None
    hops: int = 0


def follow(start: Walk, records: Iterable[Record]) -> Walk:
    """Go on from `start` as far as the records lead. Records that are not on the way are ignored.

    Raises:
        Loop: a circle, or more than `MAX_HOPS` aliases.
    """
    aliases: dict[str, Record] = {}
    addresses: dict[str, list[Record]] = {}
    for record in records:
        if record.rtype == CNAME:
            aliases.setdefault(record.owner, record)
        elif record.rtype == A:
            addresses.setdefault(record.owner, []).append(record)
    walk = start
    while walk.at in aliases and walk.at not in addresses:
        alias = aliases[walk.at]
        if walk.hops >= MAX_HOPS or not alias.value:
            raise Loop(f"the aliases of {start.at} do not end")
        walk = Walk(alias.value, (), _least(walk.ttl, alias.ttl), walk.hops + 1)
    found = addresses.get(walk.at, [])
    if not found:
        return walk
    unique = tuple(dict.fromkeys(record.value for record in found))
    return Walk(walk.at, unique, min(_least(walk.ttl, record.ttl) for record in found), walk.hops)


def _least(one: int | None, other: int) -> int:
    return other if one is None else min(one, other)


@dataclass(frozen=True, slots=True)
class Told:
    """What an agent is told, and what was held back and why."""

    addresses: tuple[str, ...]
    ttl: int
    denied: tuple[tuple[str, str], ...] = ()


def tell(walk: Walk, denied: Callable[[Address], str | None]) -> Told:
    """Sort out the addresses that may not be reached; clamp the time that the rest is good for."""
    good, bad = [], []
    for text in walk.addresses:
        why = denied(IPv4Address(text))
        if why is None:
            good.append(text)
        else:
            bad.append((text, why))
    ttl = max(MIN_TTL, min(walk.ttl or 0, MAX_TTL))
    return Told(tuple(good[:MAX_ADDRESSES]), ttl, tuple(bad))

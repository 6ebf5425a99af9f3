"""Judge a question before anything is forwarded. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from nullbox.egress.dns.wire import CLASS_IN, A, Query, Rcode
from nullbox.egress.policy import Grant

MAX_STAR_LABEL = 40
"""Longest label that a `*.` stands for. Real host names are shorter; a tunnel wants all 63 octets."""


class Kind(StrEnum):
    """What became of a question, for the log."""

    ASK = "ask"
    NO_DATA = "no data"
    UNLISTED = "unlisted name"
    LONG_LABEL = "long label"
    UNSUPPORTED = "unsupported"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`rcode` is the answer when nothing is asked; `grant` the entry that covers the name; `starred` the octets that a
    wildcard leaves to the agent's choice."""

    kind: Kind
    rcode: Rcode = Rcode.NOERROR
    grant: Grant | None = None
    starred: int = 0


def decide(query: Query, grants: Iterable[Grant], *, learn: bool = False) -> Verdict:
    """What to do with a question.

    Only A is ever asked upstream. Other types of a granted name have no data here: no AAAA, since agents have no
    IPv6; no HTTPS or SVCB, since their address hints and ECH keys would bypass this resolver (RFC 9460).
    """
    if query.opcode != 0:
        return Verdict(Kind.UNSUPPORTED, Rcode.NOTIMP)
    if query.qclass != CLASS_IN or not query.name:
        return Verdict(Kind.UNLISTED, Rcode.REFUSED)
    covering = sorted(
        (grant for grant in grants if grant.covers_name(query.name)), key=lambda g: g.host.startswith("*")
    )
    if not covering and not learn:
        return Verdict(Kind.UNLISTED, Rcode.REFUSED)
    grant = covering[0] if covering else None
    starred = 0
    if grant is None:
        starred = len(query.name)
    elif grant.host.startswith("*."):
        starred = query.name.index(".")
        if starred > MAX_STAR_LABEL:
            return Verdict(Kind.LONG_LABEL, Rcode.REFUSED, grant, starred)
    if query.qtype != A:
        return Verdict(Kind.NO_DATA, Rcode.NOERROR, grant)
    return Verdict(Kind.ASK, Rcode.NOERROR, grant, starred)

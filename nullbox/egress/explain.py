"""Say what would happen to an agent's traffic, by which rule, and what would change it. Pure."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nullbox.egress.addresses import AddressRules
from nullbox.egress.chains import RESOLVER_PORTS
from nullbox.egress.policy import DEFAULT_PORT, Grant, normalise
from nullbox.egress.reasons import TEXT, Reason
from nullbox.protocols.errors import ErrorCode, NullBoxError


@dataclass(frozen=True, slots=True)
class Explanation:
    """allowed: whether a new TCP connection would pass, now or after the name is resolved; rule: what decides."""

    allowed: bool
    rule: str
    why: str


def split_target(text: str) -> tuple[str, int]:
    """`HOST[:PORT]` or `[IPV6]:PORT` → host and port.

    Raises:
        NullBoxError: `invalid`.
    """
    host, port = text, str(DEFAULT_PORT)
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise NullBoxError(ErrorCode.INVALID, f"{text!r}: must be HOST[:PORT] or [IPV6]:PORT")
        port = rest[1:] if rest else port
    elif text.count(":") == 1:
        host, _, port = text.partition(":")
    if not host or not (port.isascii() and port.isdecimal() and 1 <= int(port) <= 65535):
        raise NullBoxError(ErrorCode.INVALID, f"{text!r}: must be HOST[:PORT] with a port from 1 to 65535")
    return host, int(port)


def explain(
    host: str,
    port: int,
    grants: Sequence[Grant],
    rules: AddressRules,
    open_for: Mapping[str, Sequence[str]],
    *,
    learn: bool = False,
) -> Explanation:
    """What decides about a connection to `host:port`.

    Args:
        open_for: address → grants (as text) whose answers hold it on this port now.
    """
    if port in RESOLVER_PORTS:
        return Explanation(False, "resolver port", TEXT[Reason.RESOLVER_PORT])
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return _explain_name(normalise(host), port, grants, learn)
    denied = rules.denied(address)
    if denied is not None:
        return Explanation(False, "special-purpose address", denied)
    if address.version == 6:
        return Explanation(False, "IPv6", "agents have IPv4 only; every IPv6 packet of theirs is dropped")
    holders = open_for.get(str(address), ())
    if holders:
        return Explanation(True, "grant", f"a fresh answer for {', '.join(holders)} holds this address")
    return Explanation(
        False, "no grant", "addresses are never granted as such; resolve a granted name, and its addresses open"
    )


def _explain_name(name: str, port: int, grants: Sequence[Grant], learn: bool) -> Explanation:
    covering = [grant for grant in grants if grant.covers_name(name)]
    for grant in covering:
        if grant.port == port:
            return Explanation(
                True,
                "grant",
                f"{grant.text} covers it; its addresses open when it is resolved, unless they are special",
            )
    if learn:
        return Explanation(True, "learn", "this agent is learning: every name resolves, and its use is reported")
    if covering:
        ports = ", ".join(str(grant.port) for grant in covering)
        return Explanation(
            False, "no grant", f"the name is granted on port {ports} only; the name resolves, the port is shut"
        )
    near = [grant.host for grant in grants if grant.host.startswith("*.") and name.endswith(grant.host[1:])]
    hint = f"; {near[0]} stands for one label only" if near else ""
    return Explanation(
        False, "unlisted name", f"no entry of allow covers {name}: it is refused, nothing is asked{hint}"
    )

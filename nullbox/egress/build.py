"""Edge: put egress together from the `[egress]` table of nulld.toml, over the real kernel.

[egress]
uplinks = ["eth0"]            # interfaces that lead outside; default: the uplink that PID 1 chose, if any
upstreams = ["10.0.2.3"]      # resolvers, "address[:port]"; default: those of the uplink, if any
exceptions = []               # CIDR blocks that agents may reach although they are special-purpose
learn = false                 # whether an agent may be put into report-only mode
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nullbox.egress.addresses import Address, AddressRules, Network, parse_exceptions, special_v4
from nullbox.egress.dns.server import ResolverThread
from nullbox.egress.dns.upstream import Server, Upstream
from nullbox.egress.netlink import open_route
from nullbox.egress.nft import KernelFirewall
from nullbox.egress.ruleset import Base
from nullbox.egress.service import EgressService
from nullbox.egress.tap import KernelTaps, Taps
from nullbox.egress.uplink import OwnAddresses, Uplink
from nullbox.protocols.errors import ErrorCode, NullBoxError


@dataclass(frozen=True, slots=True)
class EgressConfig:
    """The table, read and checked."""

    uplinks: tuple[str, ...] = ()
    upstreams: tuple[Server, ...] = ()
    exceptions: tuple[Network, ...] = ()
    learn: bool = False

    @classmethod
    def read(cls, table: Mapping[str, Any]) -> EgressConfig:
        """Check a table as TOML gives it.

        Raises:
            NullBoxError: `invalid`, with the key, what was found and what would be right.
        """
        unknown = sorted(set(table) - {"uplinks", "upstreams", "exceptions", "learn"})
        if unknown:
            raise _invalid(unknown[0], table[unknown[0]], "known are uplinks, upstreams, exceptions, learn")
        learn = table.get("learn", False)
        if not isinstance(learn, bool):
            raise _invalid("learn", learn, "must be true or false")
        return cls(
            _texts(table, "uplinks"),
            tuple(_server(text) for text in _texts(table, "upstreams")),
            parse_exceptions(_texts(table, "exceptions")),
            learn,
        )


def build(config: EgressConfig, taps: Taps | None = None, uplink: Uplink | None = None) -> EgressService:
    """The service over this thread's network namespace. Nothing is loaded until `prepare`.

    uplink: where interface and resolvers come from if the configuration names none.

    Raises:
        NullBoxError: `unavailable`, libnftables or pyroute2 is missing.
    """
    uplinks = config.uplinks or (uplink.interfaces() if uplink else ())
    base = Base(uplinks, special_v4(str(network) for network in config.exceptions))
    return EgressService(
        base,
        KernelFirewall(),
        taps or KernelTaps(),
        ResolverThread(),
        ask=Upstream(uplink.servers if uplink and not config.upstreams else config.upstreams).ask,
        rules=AddressRules(OwnAddresses(own_addresses(), uplink), config.exceptions),
        may_learn=config.learn,
    )


def own_addresses() -> frozenset[Address]:
    """The addresses that this namespace has now."""
    with open_route() as route:
        texts = [item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS") for item in route.get_addr()]
    return frozenset(ipaddress.ip_address(text) for text in texts if text)


def _texts(table: Mapping[str, Any], key: str) -> tuple[str, ...]:
    value = table.get(key, [])
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _invalid(key, value, "must be a list of strings")
    return tuple(value)


def _server(text: str) -> Server:
    host, colon, port = text.partition(":")
    try:
        ipaddress.IPv4Address(host)
        if not 1 <= int(port if colon else "53") <= 65535:
            raise ValueError(f"port {port}")
    except ValueError as error:
        raise _invalid("upstreams", text, "must be an IPv4 address, or address:port") from error
    return Server(host, int(port) if colon else 53)


def _invalid(key: str, found: object, right: str) -> NullBoxError:
    return NullBoxError(ErrorCode.INVALID, f"egress.{key} is {found!r}: {right}")

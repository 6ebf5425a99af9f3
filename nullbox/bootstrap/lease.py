"""The uplink's addresses as a value: from a DHCP server, the command line or the STATE partition; and which are taken
(pure).

Whoever answers on the uplink's network may be hostile. So what a server says is taken only if it makes sense, and only
these four things of it: address with prefix, router, resolvers, duration.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from typing import Any, Final

SHORTEST: Final = 60
"""Seconds. A shorter lease would have us busy with nothing else."""
LONGEST: Final = 7 * 24 * 3600
"""A longer lease is renewed as if it were this long."""
MOST_RESOLVERS: Final = 3

AGENTS: Final = IPv4Network("10.90.0.0/16")
"""The network of the agents' links (egress.slots): an uplink that overlaps it would take agents' answers away."""

UNUSABLE: Final = tuple(
    IPv4Network(text) for text in ("0.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "240.0.0.0/4")
)
"""No machine's address (RFC 6890): this network, loopback, link-local, multicast, reserved."""


class LeaseError(ValueError):
    """Not to be used; the message says what was found and what would be right."""


@dataclass(frozen=True, slots=True)
class Lease:
    """address with the prefix length of its network; router: where the rest of the world is, if it is anywhere;
    resolvers: DNS servers; seconds: how long it is ours, None for ever; server: whose word it is."""

    address: IPv4Address
    prefix: int
    router: IPv4Address | None = None
    resolvers: tuple[IPv4Address, ...] = ()
    seconds: int | None = None
    server: IPv4Address | None = None

    @property
    def network(self) -> IPv4Network:
        return IPv4Network((self.address, self.prefix), strict=False)

    def to_plain(self) -> dict[str, Any]:
        return {
            "address": str(self.address),
            "prefix": self.prefix,
            "router": str(self.router) if self.router else None,
            "resolvers": [str(each) for each in self.resolvers],
            "seconds": self.seconds,
            "server": str(self.server) if self.server else None,
        }

    @classmethod
    def from_plain(cls, plain: Any) -> Lease:
        """The inverse, and checked again: it may come from a process that talked to strangers.

        Raises:
            LeaseError: anything about it is wrong.
        """
        try:
            seconds = plain["seconds"]
            lease = cls(
                _address(plain["address"]),
                int(plain["prefix"]),
                _address(plain["router"]) if plain["router"] else None,
                tuple(_address(each) for each in plain["resolvers"]),
                None if seconds is None else int(seconds),
                _address(plain["server"]) if plain["server"] else None,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise LeaseError(f"a lease is not {str(plain)[:200]!r}: {error}") from error
        return checked(lease)


def _address(text: Any) -> IPv4Address:
    if not isinstance(text, str):
        raise LeaseError(f"{text!r} is not an IPv4 address")
    return IPv4Address(text)


def checked(lease: Lease) -> Lease:
    """The lease, if a machine can live with it; its duration cut to `LONGEST`.

    Raises:
        LeaseError: it cannot.
    """
    if not 8 <= lease.prefix <= 31:
        raise LeaseError(f"prefix length {lease.prefix}; usable are 8 to 31")
    network = lease.network
    _usable("address", lease.address)
    if lease.prefix < 31 and lease.address in (network.network_address, network.broadcast_address):
        raise LeaseError(f"{lease.address} names all of {network}, not one machine")
    if network.overlaps(AGENTS):
        raise LeaseError(f"{network} overlaps {AGENTS}, the network of the agents")
    if any(network.overlaps(each) for each in UNUSABLE):
        raise LeaseError(f"{network} holds addresses that no machine has")
    if lease.router is not None:
        _usable("router", lease.router)
        if lease.router not in network or lease.router == lease.address:
            raise LeaseError(f"router {lease.router} is not another machine of {network}")
    for resolver in lease.resolvers:
        _usable("resolver", resolver)
        if resolver in AGENTS or resolver == lease.address:
            raise LeaseError(f"resolver {resolver} is this machine itself, or an agent")
    if len(lease.resolvers) > MOST_RESOLVERS:
        raise LeaseError(f"{len(lease.resolvers)} resolvers; at most {MOST_RESOLVERS}")
    if lease.seconds is None:
        return lease
    if lease.seconds < SHORTEST:
        raise LeaseError(f"a lease of {lease.seconds} s; at least {SHORTEST} are usable")
    seconds = min(lease.seconds, LONGEST)
    return Lease(lease.address, lease.prefix, lease.router, lease.resolvers, seconds, lease.server)


def _usable(what: str, address: IPv4Address) -> None:
    if any(address in network for network in UNUSABLE):
        raise LeaseError(f"{what} {address} is no machine's address (RFC 6890)")


def usable_resolvers(found: Iterable[IPv4Address], own: IPv4Address) -> tuple[IPv4Address, ...]:
    """Those that may be asked, the first `MOST_RESOLVERS`, each once: a wrong one is no reason to have no network."""
    good = (
        each
        for each in dict.fromkeys(found)
        if each != own and each not in AGENTS and not any(each in network for network in UNUSABLE)
    )
    return tuple(each for each, _ in zip(good, range(MOST_RESOLVERS), strict=False))


DHCP: Final = "dhcp"
NONE: Final = "none"


def parse_setting(text: str) -> Lease | str:
    """`dhcp`, `none`, or `ADDRESS/PREFIX[,ROUTER[,RESOLVER…]]`, an empty ROUTER standing for none.

    Raises:
        LeaseError: it is none of these, or not usable.
    """
    if text in (DHCP, NONE):
        return text
    address, *rest = text.split(",")
    try:
        interface = ipaddress.IPv4Interface(address)
        if "/" not in address:
            raise ValueError(f"{address} has no prefix length")
        router = IPv4Address(rest[0]) if rest and rest[0] else None
        resolvers = tuple(IPv4Address(each) for each in rest[1:])
    except ValueError as error:
        raise LeaseError(f"{text!r}: {error}; allowed: {DHCP}, {NONE}, ADDRESS/PREFIX[,ROUTER[,RESOLVER…]]") from error
    return checked(Lease(interface.ip, interface.network.prefixlen, router, resolvers))


def choose_interface(wanted: str, found: Sequence[str]) -> tuple[str, str]:
    """Which interface is the uplink, and why; an empty name for none.

    wanted: a name, or `auto`. found: names of the machine's Ethernet devices, in the kernel's order.
    """
    if wanted != "auto":
        return (wanted, "named by the command line") if wanted in found else ("", f"there is no {wanted} here")
    if not found:
        return "", "there is no network card"
    if len(found) == 1:
        return found[0], "the only network card"
    return found[0], f"the first of {', '.join(found)}; nullbox.uplink_interface names another"

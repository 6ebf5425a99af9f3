"""Which addresses no agent ever reaches, as one table, and the addresses that hide inside others. Pure.

`ipaddress`'s `is_global` is no filter: it says yes to multicast, to NAT64 and 6to4 forms of a metadata address, and to
Azure's 168.63.129.16. So the table is ours.

Sources: IANA IPv4 and IPv6 Special-Purpose Address Registries (RFC 6890 and updates), IANA multicast registries; the
metadata addresses are from the providers' own documentation.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from nullbox.protocols.errors import ErrorCode, NullBoxError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class Block:
    """One row: a block of addresses, what it is for, and where that is written."""

    network: Network
    name: str
    source: str


def _rows(text: str) -> tuple[Block, ...]:
    parts = (line.split("|") for line in text.strip().splitlines())
    return tuple(Block(ipaddress.ip_network(cidr.strip()), name.strip(), src.strip()) for cidr, name, src in parts)


SPECIAL = _rows("""
0.0.0.0/8           | this network                        | RFC 791, 3.2
10.0.0.0/8          | private use                         | RFC 1918
100.64.0.0/10       | shared address space                | RFC 6598
127.0.0.0/8         | loopback                            | RFC 1122, 3.2.1.3
169.254.0.0/16      | link local                          | RFC 3927
172.16.0.0/12       | private use                         | RFC 1918
192.0.0.0/24        | IETF protocol assignments           | RFC 6890, 2.1
192.0.2.0/24        | documentation (TEST-NET-1)          | RFC 5737
192.31.196.0/24     | AS112-v4                            | RFC 7535
192.52.193.0/24     | AMT                                 | RFC 7450
192.88.99.0/24      | deprecated 6to4 relay anycast       | RFC 7526
192.168.0.0/16      | private use                         | RFC 1918
192.175.48.0/24     | direct delegation AS112             | RFC 7534
198.18.0.0/15       | benchmarking                        | RFC 2544
198.51.100.0/24     | documentation (TEST-NET-2)          | RFC 5737
203.0.113.0/24      | documentation (TEST-NET-3)          | RFC 5737
224.0.0.0/4         | multicast                           | RFC 5771
240.0.0.0/4         | reserved                            | RFC 1112, 4
255.255.255.255/32  | limited broadcast                   | RFC 919, 7
::/128              | unspecified                         | RFC 4291, 2.5.2
::1/128             | loopback                            | RFC 4291, 2.5.3
::/96               | IPv4-compatible (deprecated)        | RFC 4291, 2.5.5.1
::ffff:0:0/96       | IPv4-mapped                         | RFC 4291, 2.5.5.2
::ffff:0:0:0/96     | IPv4-translated                     | RFC 2765, 2.1
64:ff9b::/96        | IPv4/IPv6 translation               | RFC 6052
64:ff9b:1::/48      | local-use IPv4/IPv6 translation     | RFC 8215
100::/64            | discard only                        | RFC 6666
100:0:0:1::/64      | dummy prefix                        | RFC 9780
2001::/23           | IETF protocol assignments           | RFC 2928
2001::/32           | Teredo                              | RFC 4380
2001:1::1/128       | port control protocol anycast       | RFC 7723
2001:1::2/128       | TURN anycast                        | RFC 8155
2001:1::3/128       | DNS-SD SRP anycast                  | RFC 9665
2001:2::/48         | benchmarking                        | RFC 5180
2001:3::/32         | AMT                                 | RFC 7450
2001:4:112::/48     | AS112-v6                            | RFC 7535
2001:10::/28        | deprecated ORCHID                   | RFC 4843
2001:20::/28        | ORCHIDv2                            | RFC 7343
2001:30::/28        | drone remote ID                     | RFC 9374
2001:db8::/32       | documentation                       | RFC 3849
2002::/16           | 6to4                                | RFC 3056
2620:4f:8000::/48   | direct delegation AS112             | RFC 7534
3fff::/20           | documentation                       | RFC 9637
5f00::/16           | segment routing SIDs                | RFC 9602
fc00::/7            | unique local                        | RFC 4193
fe80::/10           | link local                          | RFC 4291, 2.5.6
fec0::/10           | deprecated site local               | RFC 3879
ff00::/8            | multicast                           | RFC 4291, 2.7
""")

METADATA = _rows("""
169.254.169.254/32   | metadata (AWS, Google, Azure, DigitalOcean, Oracle, Hetzner, Akamai, OpenStack, …) | providers
169.254.170.2/32     | AWS ECS task credentials            | AWS
169.254.170.23/32    | AWS EKS pod identity                | AWS
169.254.169.253/32   | AWS VPC resolver                    | AWS
169.254.169.123/32   | AWS time                            | AWS
169.254.42.42/32     | Scaleway metadata                   | Scaleway
169.254.0.23/32      | Tencent metadata                    | Tencent
100.100.100.200/32   | Alibaba metadata                    | Alibaba
168.63.129.16/32     | Azure platform (WireServer, DNS)    | Microsoft
192.0.0.192/32       | Oracle classic metadata             | Oracle
fd00:ec2::254/128    | AWS metadata                        | AWS
fd00:ec2::253/128    | AWS VPC resolver                    | AWS
fd00:ec2::23/128     | AWS EKS pod identity                | AWS
fd20:ce::254/128     | Google metadata                     | Google
fd00:42::42/128      | Scaleway metadata                   | Scaleway
fd00:a9fe:a9fe::1/128 | Akamai metadata                    | Akamai
fe80::a9fe:a9fe/128  | OpenStack metadata                  | OpenStack
""")

_TABLE = tuple(sorted(SPECIAL + METADATA, key=lambda block: -block.network.prefixlen))
"""Most specific first, so that an address is named by what it is most particularly."""

_RANGES = {
    version: tuple(
        (int(block.network.network_address), int(block.network.broadcast_address), block)
        for block in _TABLE
        if block.network.version == version
    )
    for version in (4, 6)
}
"""The same as numbers: (first, last, row). Every address of every answer is looked up in it."""

_LOW_32 = 0xFFFF_FFFF


def embedded(address: Address) -> Iterator[IPv4Address]:
    """Every IPv4 address that an IPv6 address stands for under some transition mechanism.

    IPv4-compatible, -mapped and -translated, NAT64 (RFC 6052, well-known and RFC 8215's local prefix in all its
    layouts), 6to4 (RFC 3056), Teredo's server and client (RFC 4380, 4), ISATAP (RFC 5214, 6.1).
    """
    if isinstance(address, IPv4Address):
        return
    value = int(address)
    for low in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96", "64:ff9b:1::/48"):
        if address in IPv6Network(low):
            yield IPv4Address(value & _LOW_32)
    if address in IPv6Network("64:ff9b:1::/48"):
        # RFC 6052, 2.2: with a /48, /56 or /64 prefix the IPv4 address goes around bits 64 to 71, which are zero.
        yield IPv4Address((value >> 64 & 0xFFFF) << 16 | value >> 40 & 0xFFFF)
        yield IPv4Address((value >> 64 & 0xFF) << 24 | value >> 32 & 0xFF_FFFF)
        yield IPv4Address(value >> 24 & _LOW_32)
    if address in IPv6Network("2002::/16"):
        yield IPv4Address(value >> 80 & _LOW_32)
    if address in IPv6Network("2001::/32"):
        yield IPv4Address(value >> 64 & _LOW_32)
        yield IPv4Address(~value & _LOW_32)
    if value >> 32 & 0xFDFF_FFFF == 0x0000_5EFE:
        yield IPv4Address(value & _LOW_32)


def block_of(address: Address) -> Block | None:
    """The most specific row that an address, or an IPv4 address inside it, falls into. None: an ordinary address."""
    for inner in embedded(address):
        found = block_of(inner)
        if found is not None:
            return found
    value = int(address)
    return next((block for first, last, block in _RANGES[address.version] if first <= value <= last), None)


def special_v4(exceptions: Iterable[str] = ()) -> tuple[str, ...]:
    """The IPv4 blocks for the kernel's deny set: collapsed, since libnftables takes no overlapping intervals.

    Args:
        exceptions: CIDR blocks of nulld.toml that agents may reach all the same.
    """
    blocks = [block.network for block in _TABLE if isinstance(block.network, IPv4Network)]
    kept = list(ipaddress.collapse_addresses(blocks))
    for hole in parse_exceptions(exceptions):
        if isinstance(hole, IPv4Network):
            kept = [part for network in kept for part in _without(network, hole)]
    return tuple(str(network) for network in ipaddress.collapse_addresses(kept))


def _without(network: IPv4Network, hole: IPv4Network) -> list[IPv4Network]:
    if network.subnet_of(hole):
        return []
    return list(network.address_exclude(hole)) if hole.subnet_of(network) else [network]


def parse_exceptions(texts: Iterable[str]) -> tuple[Network, ...]:
    """Read the CIDR blocks of `exceptions`.

    Raises:
        NullBoxError: `invalid`.
    """
    found = []
    for text in texts:
        try:
            found.append(ipaddress.ip_network(text))
        except ValueError as error:
            message = f"egress exception {text!r}: must be an address or a CIDR block without host bits ({error})"
            raise NullBoxError(ErrorCode.INVALID, message) from error
    return tuple(found)


@dataclass(frozen=True, slots=True)
class AddressRules:
    """Which addresses a DNS answer may hold.

    own: the host's addresses.
    exceptions: blocks that the operator opened.
    """

    own: Collection[Address] = frozenset()
    exceptions: tuple[Network, ...] = ()

    def denied(self, address: Address) -> str | None:
        """Why agents may not reach this address; None if nothing speaks against it."""
        inner = [address, *embedded(address)]
        for one in inner:
            if one in self.own:
                return f"{one} is an address of the host itself"
        for network in self.exceptions:
            if address.version == network.version and address in network:
                return None
        block = block_of(address)
        if block is None:
            return None
        return f"{address} is in {block.network}: {block.name} ({block.source})"

"""Edge: names and addresses of the interfaces of this thread's network namespace, by the standard library alone.

What egress asks at its start, before any agent has a link: the whole netlink client is loaded for the first link only.

Sources: netdevice(7) for SIOCGIFCONF; Documentation/filesystems/proc.rst for net/dev; net/ipv6/addrconf.c of Linux
(`if6_seq_show`) for net/if_inet6.
"""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

NET = Path("/proc/thread-self/net")
SIOCGIFCONF = 0x8912
IFREQ = 40
"""Bytes of a `struct ifreq` on 64-bit Linux: 16 of name, then a `sockaddr_in`."""
IFREQ_ADDRESS = slice(20, 24)


def names(net: Path = NET) -> list[str]:
    """All interfaces, in the kernel's order."""
    lines = (net / "dev").read_text().splitlines()
    return [name.strip() for name, colon, _ in (line.rpartition(":") for line in lines) if colon]


def addresses(net: Path = NET) -> frozenset[IPv4Address | IPv6Address]:
    """All addresses of all interfaces, up or down."""
    return frozenset((*_ipv4(), *_ipv6(net)))


def _ipv4() -> Iterator[IPv4Address]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as query:
        room = 64 * IFREQ
        while True:
            found = array.array("B", bytes(room))
            answer = fcntl.ioctl(query, SIOCGIFCONF, struct.pack("iP", room, found.buffer_info()[0]))
            (used,) = struct.unpack_from("i", answer)
            if used < room:  # otherwise there may be more
                break
            room *= 2
    entries = (found[start : start + IFREQ].tobytes() for start in range(0, used, IFREQ))
    return (IPv4Address(entry[IFREQ_ADDRESS]) for entry in entries)


def _ipv6(net: Path) -> list[IPv6Address]:
    try:
        rows = (net / "if_inet6").read_text().split("\n")
    except FileNotFoundError:  # a kernel without IPv6
        return []
    return [IPv6Address(bytes.fromhex(row.split()[0])) for row in rows if row]

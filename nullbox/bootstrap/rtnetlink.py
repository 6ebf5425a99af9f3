"""Effects: addresses and routes of one interface, over rtnetlink with the standard library alone.

Sources: netlink(7), rtnetlink(7), linux/if_addr.h, linux/rtnetlink.h.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address
from typing import Final

from nullbox.bootstrap.lease import Lease

RTM_NEWLINK, RTM_NEWADDR, RTM_DELADDR, RTM_GETADDR, RTM_NEWROUTE = 16, 20, 21, 22, 24
REQUEST, ACK, REPLACE, CREATE, DUMP = 0x1, 0x4, 0x100, 0x400, 0x300
ERROR, DONE = 2, 3
IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST, IFA_CACHEINFO = 1, 2, 4, 6
RTA_OIF, RTA_GATEWAY, RTA_PREFSRC = 4, 5, 7
IFF_UP: Final = 1
FOREVER: Final = 0xFFFFFFFF
MAIN_TABLE, BOOT_PROTOCOL, DHCP_PROTOCOL, UNIVERSE, UNICAST = 254, 3, 16, 0, 1


class Link:
    """One interface of this network namespace. Every method raises OSError where the kernel refuses."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._index = socket.if_nametoindex(name)
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
        self._socket.settimeout(5.0)
        self._seq = 0

    def up(self) -> None:
        self._ask(RTM_NEWLINK, 0, struct.pack("=BxHiII", socket.AF_UNSPEC, 0, self._index, IFF_UP, IFF_UP))

    def addresses(self) -> list[tuple[IPv4Address, int]]:
        """IPv4 addresses with their prefix lengths."""
        found = []
        for body in self._ask(RTM_GETADDR, DUMP, struct.pack("=BBBBi", socket.AF_INET, 0, 0, 0, 0)):
            _, prefix, _, _, index = struct.unpack_from("=BBBBi", body)
            local = dict(_attributes(body[8:])).get(IFA_LOCAL)
            if index == self._index and local:
                found.append((IPv4Address(local), prefix))
        return found

    def remove(self, address: IPv4Address, prefix: int) -> None:
        body = struct.pack("=BBBBi", socket.AF_INET, prefix, 0, UNIVERSE, self._index)
        self._ask(RTM_DELADDR, 0, body + _attribute(IFA_LOCAL, address.packed))

    def apply(self, lease: Lease) -> None:
        """Give the interface this address and no other, and the default route by its router.

        The kernel itself takes the address away when its time is over: whoever should have renewed it may be dead.
        """
        for address, prefix in self.addresses():
            if (address, prefix) != (lease.address, lease.prefix):
                self.remove(address, prefix)
        body = struct.pack("=BBBBi", socket.AF_INET, lease.prefix, 0, UNIVERSE, self._index)
        seconds = FOREVER if lease.seconds is None else lease.seconds
        body += _attribute(IFA_LOCAL, lease.address.packed) + _attribute(IFA_ADDRESS, lease.address.packed)
        if lease.prefix < 31:
            body += _attribute(IFA_BROADCAST, lease.network.broadcast_address.packed)
        body += _attribute(IFA_CACHEINFO, struct.pack("=IIII", seconds, seconds, 0, 0))
        self._ask(RTM_NEWADDR, CREATE | REPLACE, body)
        if lease.router is not None:
            protocol = BOOT_PROTOCOL if lease.seconds is None else DHCP_PROTOCOL
            route = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, MAIN_TABLE, protocol, UNIVERSE, UNICAST, 0)
            route += _attribute(RTA_OIF, struct.pack("=i", self._index))
            route += _attribute(RTA_GATEWAY, lease.router.packed) + _attribute(RTA_PREFSRC, lease.address.packed)
            self._ask(RTM_NEWROUTE, CREATE | REPLACE, route)

    def _ask(self, kind: int, flags: int, body: bytes) -> list[bytes]:
        self._seq += 1
        asked = struct.pack(
            "=IHHII", 16 + len(body), kind, REQUEST | flags | (0 if flags == DUMP else ACK), self._seq, 0
        )
        self._socket.send(asked + body)
        answers: list[bytes] = []
        while True:
            for answer, seq, payload in _messages(self._socket.recv(65536)):
                if seq != self._seq:
                    continue
                if answer == ERROR:
                    code = -struct.unpack_from("=i", payload)[0]
                    if code:
                        raise OSError(code, os.strerror(code), self.name)
                    return answers
                if answer == DONE:
                    return answers
                answers.append(payload)


def _messages(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at + 16 <= len(data):
        length, kind, _, seq, _ = struct.unpack_from("=IHHII", data, at)
        yield kind, seq, data[at + 16 : at + length]
        at += max(16, (length + 3) & ~3)


def _attribute(kind: int, value: bytes) -> bytes:
    return (struct.pack("=HH", 4 + len(value), kind) + value).ljust((4 + len(value) + 3) & ~3, b"\0")


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + 4 <= len(data):
        length, kind = struct.unpack_from("=HH", data, at)
        if length < 4:
            return
        yield kind, data[at + 4 : at + length]
        at += (length + 3) & ~3

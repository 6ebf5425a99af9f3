"""A DHCP server for tests, good or bad as asked: the messages as bytes, and a process that answers with them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

from netspace import enter

from nullbox.bootstrap import dhcp
from nullbox.bootstrap.dhcp import ACK, DISCOVER, MASK, NAK, OFFER, REQUEST, RESOLVER, ROUTER, SECONDS, SERVER, TYPE

SERVER_IP = IPv4Address("192.0.2.1")
ADDRESS = IPv4Address("192.0.2.7")

USUAL: dict[int, bytes | None] = {
    MASK: b"\xff\xff\xff\x00",
    ROUTER: SERVER_IP.packed,
    RESOLVER: IPv4Address("192.0.2.53").packed,
    SECONDS: (3600).to_bytes(4, "big"),
    SERVER: SERVER_IP.packed,
}

Options = Mapping[int, bytes | None]


def wire(options: Options) -> bytes:
    """Options as they are sent; those that are None are not."""
    given = ((number, value) for number, value in options.items() if value is not None)
    return b"".join(bytes([number, len(value)]) + value for number, value in given) + b"\xff"


def from_server(
    kind: int, *, xid: int, mac: bytes, yours: IPv4Address = ADDRESS, options: Options | None = None
) -> bytes:
    """A server's message with what it is carried in, as an IPv4 packet."""
    head = dhcp.FIXED.pack(2, 1, 6, 0, xid, 0, 0, bytes(4), yours.packed, bytes(4), bytes(4), mac, b"", b"", dhcp.MAGIC)
    return in_ip(head + wire({TYPE: bytes([kind]), **USUAL, **(options or {})}))


def in_ip(payload: bytes, source: int = 67, target: int = 68) -> bytes:
    udp = struct.pack("!HHHH", source, target, 8 + len(payload), 0) + payload
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, SERVER_IP.packed, b"\xff" * 4)
    return head[:10] + struct.pack("!H", dhcp.checksum(head)) + head[12:] + udp


Answer = Callable[[int, int, bytes], list[bytes]]
"""(type of the client's message, its xid, its MAC) → packets to send."""


def good(kind: int, xid: int, mac: bytes) -> list[bytes]:
    answer = {DISCOVER: OFFER, REQUEST: ACK}.get(kind)
    return [from_server(answer, xid=xid, mac=mac)] if answer else []


def short(kind: int, xid: int, mac: bytes) -> list[bytes]:
    """Good, but for a minute only."""
    answer = {DISCOVER: OFFER, REQUEST: ACK}.get(kind)
    return [from_server(answer, xid=xid, mac=mac, options={SECONDS: (60).to_bytes(4, "big")})] if answer else []


def hostile(kind: int, xid: int, mac: bytes) -> list[bytes]:
    """All that a server could try, in one answer: nothing of it is to be used."""
    answer = {DISCOVER: OFFER, REQUEST: ACK}.get(kind, NAK)
    made: list[dict[str, Any]] = [
        {"yours": IPv4Address("127.0.0.1")},
        {"yours": IPv4Address("10.90.0.2"), "options": {MASK: b"\xff\xff\x00\x00", ROUTER: None}},
        {"yours": IPv4Address("224.0.0.1")},
        {"yours": IPv4Address("0.0.0.0")},
        {"options": {MASK: b"\x00\xff\x00\xff"}},
        {"options": {MASK: b"\0\0\0\0"}},
        {"options": {ROUTER: IPv4Address("203.0.113.1").packed}},
        {"options": {SECONDS: b"\0\0\0\0"}},
        {"options": {SERVER: b"x"}},
        {"options": {dhcp.OVERLOAD: b"\xff"}},
    ]
    packets = [from_server(answer, xid=xid, mac=mac, **each) for each in made]
    whole = from_server(answer, xid=xid, mac=mac)
    return [*packets, whole[:100], whole[:-1], bytes(1400), in_ip(b"\x02" * 1400), in_ip(b"")]


@contextlib.contextmanager
def serving(namespace: str, interface: str, answer: Answer, flood: int = 0) -> Iterator[None]:
    """A process in a network namespace that answers every DHCP message on an interface. flood: how often each answer is
    repeated."""
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            _serve(namespace, interface, answer, flood, told)
        finally:
            os._exit(1)
    os.close(told)
    try:
        assert os.read(ready, 1) == b".", "the DHCP server did not start"
        yield
    finally:
        os.close(ready)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _serve(namespace: str, interface: str, answer: Answer, flood: int, told: int) -> None:
    enter(namespace)
    with socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)) as link:
        link.bind((interface, 0x0800))
        os.write(told, b".")
        while True:
            data = link.recv(2048)
            if len(data) < 28 + dhcp.FIXED.size + 3 or struct.unpack_from("!HH", data, 20) != (68, 67):
                continue
            body = data[28:]
            xid, mac = int.from_bytes(body[4:8], "big"), body[28:34]
            kind = body[dhcp.FIXED.size + 2]
            for packet in answer(kind, xid, mac) * (1 + flood):
                with contextlib.suppress(OSError):
                    link.sendto(packet, (interface, 0x0800, 0, 0, b"\xff" * 6))

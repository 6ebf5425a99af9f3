"""A DHCP client's messages and its decisions (pure): bytes in, bytes out, the time as an argument.

Taken from a server are address, mask, router, resolvers and duration, each if `lease` finds it usable; every other
option is skipped: routes (RFC 3442 can lead single destinations elsewhere), names, MTU, boot files.

Sources: RFC 2131 (protocol), RFC 2132 (options), RFC 3396 (an option in several pieces), RFC 791 and 768 (IP, UDP).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from nullbox.bootstrap.lease import Lease, LeaseError, checked, usable_resolvers

SERVER_PORT: Final = 67
CLIENT_PORT: Final = 68
MAGIC: Final = b"\x63\x82\x53\x63"
FIXED: Final = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
"""op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file, magic."""
LARGEST: Final = 1500
BROADCAST: Final = 0x8000
"""Flag: answer to all, since we have no address yet."""

MASK, ROUTER, RESOLVER, REQUESTED, SECONDS, OVERLOAD, TYPE, SERVER, WANTED, CLIENT = 1, 3, 6, 50, 51, 52, 53, 54, 55, 61
PAD, END = 0, 255

DISCOVER, OFFER, REQUEST, DECLINE, ACK, NAK, RELEASE = range(1, 8)

WAITS: Final = (0.5, 1.0, 2.0, 4.0)
"""Seconds between one try and the next (RFC 2131, 4.1 doubles them, too). The sum bounds a whole attempt: PID 1 has the
next one begin some seconds later."""
MOST_SENT: Final = 12
"""Messages of one attempt, whatever servers answer: nobody has us talk to them for ever."""


@dataclass(frozen=True, slots=True)
class Message:
    """What a server sent. options: by number, pieces joined."""

    xid: int
    mac: bytes
    yours: IPv4Address
    options: Mapping[int, bytes]

    @property
    def type(self) -> int:
        value = self.options.get(TYPE, b"")
        return value[0] if len(value) == 1 else 0


def encode(
    kind: int, xid: int, mac: bytes, secs: int, requested: IPv4Address | None, server: IPv4Address | None
) -> bytes:
    """A client's message, options included."""
    head = FIXED.pack(
        1, 1, 6, 0, xid, min(secs, 0xFFFF), BROADCAST, bytes(4), bytes(4), bytes(4), bytes(4), mac, b"", b"", MAGIC
    )
    options = bytes([TYPE, 1, kind, CLIENT, 7, 1]) + mac
    if requested is not None:
        options += bytes([REQUESTED, 4]) + requested.packed
    if server is not None:
        options += bytes([SERVER, 4]) + server.packed
    options += bytes([WANTED, 4, MASK, ROUTER, RESOLVER, SECONDS, END])
    return (head + options).ljust(300, b"\0")  # some relays drop what is shorter than BOOTP


def decode(data: bytes) -> Message | None:
    """Read a server's message; None for what is none."""
    if not FIXED.size <= len(data) <= LARGEST:
        return None
    op, htype, hlen, _, xid, _, _, _, yours, _, _, chaddr, sname, file, magic = FIXED.unpack_from(data)
    if (op, htype, hlen) != (2, 1, 6) or magic != MAGIC:
        return None
    options: dict[int, bytes] = {}
    if not _options(data[FIXED.size :], options):
        return None
    overload = options.get(OVERLOAD, b"\0")
    if len(overload) != 1 or overload[0] > 3:
        return None
    for bit, area in ((1, file), (2, sname)):
        if overload[0] & bit and not _options(area, options):
            return None
    return Message(xid, chaddr[:6], IPv4Address(yours), options)


def _options(area: bytes, into: dict[int, bytes]) -> bool:
    """Collect the options of an area; False if one does not fit in it."""
    at = 0
    while at < len(area):
        number = area[at]
        at += 1
        if number == PAD:
            continue
        if number == END:
            return True
        if at >= len(area) or at + 1 + area[at] > len(area):
            return False
        into[number] = into.get(number, b"") + area[at + 1 : at + 1 + area[at]]
        at += 1 + area[at]
    return True


def lease_of(message: Message) -> Lease:
    """What a server offers.

    Raises:
        LeaseError: it is not usable.
    """
    mask = _addresses(message, MASK)
    if len(mask) != 1:
        raise LeaseError("the server names no mask of the network")
    try:
        prefix = IPv4Network(f"0.0.0.0/{mask[0]}").prefixlen
    except ValueError as error:
        raise LeaseError(f"{mask[0]} is no mask of a network") from error
    # ipaddress takes a host mask for a net mask, too.
    if int(mask[0]) != (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF:
        raise LeaseError(f"{mask[0]} is no mask of a network")
    seconds = message.options.get(SECONDS, b"")
    server = _addresses(message, SERVER)
    if len(seconds) != 4 or len(server) != 1:
        raise LeaseError("the server names no duration, or not itself")
    routers = _addresses(message, ROUTER)
    return checked(
        Lease(
            message.yours,
            prefix,
            routers[0] if routers else None,
            usable_resolvers(_addresses(message, RESOLVER), message.yours),
            int.from_bytes(seconds, "big"),
            server[0],
        )
    )


def _addresses(message: Message, option: int) -> list[IPv4Address]:
    value = message.options.get(option, b"")
    return [IPv4Address(value[at : at + 4]) for at in range(0, len(value) - 3, 4)] if len(value) % 4 == 0 else []


# --- around it: IP and UDP, since before there is an address there is no socket that would do it


def packet(payload: bytes) -> bytes:
    """The payload from nowhere, port 68, to everybody, port 67, as an IPv4 packet."""
    udp = (
        struct.pack("!HHHH", CLIENT_PORT, SERVER_PORT, 8 + len(payload), 0) + payload
    )  # no checksum: RFC 768 allows it
    head = struct.pack("!BBHHHBBH4s4s", 0x45, 0xC0, 20 + len(udp), 0, 0, 64, 17, 0, bytes(4), b"\xff" * 4)
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + udp


def payload(data: bytes) -> bytes | None:
    """What an IPv4 packet carries from port 67 to port 68; None for every other packet.

    The checksum of UDP is not looked at: network cards of virtual machines leave it to be filled in later.
    """
    if len(data) < 28 or data[0] >> 4 != 4:
        return None
    head = (data[0] & 15) * 4
    total = int.from_bytes(data[2:4], "big")
    fragment = int.from_bytes(data[6:8], "big") & 0x3FFF
    if head < 20 or not head + 8 <= total <= len(data) or fragment or data[9] != 17 or checksum(data[:head]):
        return None
    source, target, length, _ = struct.unpack_from("!HHHH", data, head)
    if (source, target) != (SERVER_PORT, CLIENT_PORT) or not 8 <= length <= total - head:
        return None
    return data[head + 8 : head + length]


def checksum(data: bytes) -> int:
    """RFC 1071; 0 for a header whose checksum is right."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# --- decisions


@dataclass(frozen=True, slots=True)
class State:
    """One attempt to get, or to keep, an address.

    offer: what was asked for; None while servers are looked for. again: the address to keep (RFC 2131, 3.2), which
    needs no looking. deadline: when the next try is due. refused: why offers were not taken, for the log; bounded.
    """

    xid: int
    mac: bytes
    begun: float
    again: IPv4Address | None = None
    offer: Lease | None = None
    tries: int = 0
    sent: int = 0
    deadline: float = 0.0
    refused: tuple[str, ...] = field(default=())
    lease: Lease | None = None
    failed: str = ""


def begin(xid: int, mac: bytes, now: float, again: IPv4Address | None = None) -> tuple[State, bytes | None]:
    """The first message."""
    return _send(State(xid, mac, now, again), now)


def received(state: State, data: bytes, now: float) -> tuple[State, bytes | None]:
    """An IPv4 packet came. What is not for us, in time and in order, changes nothing."""
    inside = payload(data)
    message = decode(inside) if inside is not None else None
    if message is None or message.xid != state.xid or message.mac != state.mac or state.lease or state.failed:
        return state, None
    expects_offer = state.offer is None and state.again is None
    if message.type == NAK and not expects_offer:
        # The network is another one, or the address has gone: from the beginning.
        if state.offer is not None and _addresses(message, SERVER) != [state.offer.server]:
            return state, None
        return _send(replace(state, again=None, offer=None), now)
    if message.type != (OFFER if expects_offer else ACK):
        return state, None
    try:
        lease = lease_of(message)
        if not expects_offer:
            _is_what_was_asked(state, lease)
    except LeaseError as error:
        refused = tuple(dict.fromkeys((*state.refused, str(error))))[-4:]
        return replace(state, refused=refused), None
    if expects_offer:
        return _send(replace(state, offer=lease, tries=0), now)
    return replace(state, lease=lease), None


def _is_what_was_asked(state: State, lease: Lease) -> None:
    asked = state.again if state.offer is None else state.offer.address
    if lease.address != asked:
        raise LeaseError(f"{lease.address} was given, {asked} was asked for")
    if state.offer is not None and lease.server != state.offer.server:
        raise LeaseError(f"{lease.server} answered what {state.offer.server} was asked")


def timed_out(state: State, now: float) -> tuple[State, bytes | None]:
    """The deadline has come: ask again, look for servers anew, or give up."""
    if state.lease or state.failed or now < state.deadline:
        return state, None
    if state.tries >= len(WAITS):
        why = "; ".join(state.refused) or "no server answered"
        return replace(state, failed=why), None
    if state.tries >= 2 and (state.offer is not None or state.again is not None):
        return _send(replace(state, offer=None, again=None), now)
    return _send(state, now)


def _send(state: State, now: float) -> tuple[State, bytes | None]:
    if state.sent >= MOST_SENT:
        why = "; ".join(state.refused) or "servers give addresses and take them back"
        return replace(state, failed=why), None
    secs = int(now - state.begun)
    if state.offer is not None:
        out = encode(REQUEST, state.xid, state.mac, secs, state.offer.address, state.offer.server)
    elif state.again is not None:
        out = encode(REQUEST, state.xid, state.mac, secs, state.again, None)
    else:
        out = encode(DISCOVER, state.xid, state.mac, secs, None, None)
    wait = WAITS[min(state.tries, len(WAITS) - 1)]
    return replace(state, tries=state.tries + 1, sent=state.sent + 1, deadline=now + wait), packet(out)

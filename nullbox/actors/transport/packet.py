"""Packets: how messages of up to 64 MiB fit into datagrams of 128 KiB. Pure.

The first byte of a packet is its kind, with `MORE` set on every fragment of a message but the last. SOCK_SEQPACKET
keeps order and boundaries and loses nothing, so fragments need no numbers.
"""

from __future__ import annotations

from enum import IntEnum

VERSION = 1
"""Of the packet layer; said in the greeting."""
FRAGMENT = 128 * 1024
"""Most payload bytes of a packet. The kernel's default send buffer (net.core.wmem_default, about 208 KiB) must
hold a packet and its overhead."""
MAX_PACKET = 1 + FRAGMENT
MAX_MESSAGE = 64 * 1024 * 1024
MORE = 0x80


class Kind(IntEnum):
    HELLO = 1
    """First packet of a connection: version byte, then the name of the sender's mailbox."""
    MESSAGE = 2
    """A NullBox message, see `protocols.codec`."""
    SYSTEM = 3
    """A message of Thespian's own, see `system_messages`."""


class PacketError(ValueError):
    """A peer broke the rules of this layer; its connection is of no more use."""


def hello(name: str) -> bytes:
    return bytes((Kind.HELLO, VERSION)) + name.encode("ascii")


def parse_hello(packet: bytes) -> str:
    """The name in a greeting.

    Raises:
        PacketError: this is no greeting, or one of another version.
    """
    if len(packet) < 3 or packet[0] != Kind.HELLO:
        raise PacketError("the first packet is no greeting")
    if packet[1] != VERSION:
        raise PacketError(f"version {packet[1]}; this is version {VERSION}")
    try:
        return packet[2:].decode("ascii")
    except UnicodeDecodeError as error:
        raise PacketError("a name that is not ASCII") from error


def split(kind: Kind, body: bytes) -> list[bytes]:
    """The packets that carry `body`."""
    if len(body) <= FRAGMENT:
        return [bytes((kind,)) + body]
    view = memoryview(body)
    last = (len(body) - 1) // FRAGMENT * FRAGMENT
    return [
        bytes((kind | (MORE if start < last else 0),)) + view[start : start + FRAGMENT]
        for start in range(0, len(body), FRAGMENT)
    ]


class Assembler:
    """Puts the fragments of one connection together again. Holds at most one message."""

    __slots__ = ("_kind", "_size", "parts")

    def __init__(self) -> None:
        self._kind = 0
        self.parts: list[bytes] = []
        """Fragments of an unfinished message."""
        self._size = 0

    @property
    def size(self) -> int:
        """Bytes held."""
        return self._size

    def feed(self, packet: memoryview) -> tuple[int, bytes | memoryview] | None:
        """Take a packet; return (kind, body) when it completes a message.

        The body of an unfragmented message is a view into `packet`, valid until that is overwritten.

        Raises:
            PacketError: unknown kind, fragments of two messages mixed, or more than `MAX_MESSAGE` bytes.
        """
        first = packet[0]
        kind, more = first & ~MORE, first & MORE
        if kind not in (Kind.MESSAGE, Kind.SYSTEM):
            raise PacketError(f"packet of unknown kind {first:#x}")
        if not self.parts:
            if not more:
                return kind, packet[1:]
            self._kind = kind
        elif kind != self._kind:
            raise PacketError("fragments of two messages mixed")
        self._size += len(packet) - 1
        if self._size > MAX_MESSAGE:
            raise PacketError(f"a message of more than {MAX_MESSAGE} bytes")
        self.parts.append(bytes(packet[1:]))
        if more:
            return None
        body = b"".join(self.parts)
        self.parts, self._size = [], 0
        return kind, body

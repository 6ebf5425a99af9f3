"""What waits to be sent to one peer: a bounded queue of messages. Pure.

The overflow policy: a message that does not fit is refused, and whoever sends it is told. Nothing is dropped to
make room, nothing blocks, and one peer's full outbox is no concern of another's.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from enum import Enum

MAX_MESSAGES = 8192
MAX_BYTES = 16 * 1024 * 1024
"""Per peer. One message may exceed it where nothing else waits, so that 64 MiB get through."""


class Delivery(Enum):
    """What became of a message. True where it is on its way."""

    ACCEPTED = "accepted"
    """Handed to the kernel, or waiting in the outbox. It arrives unless the peer's process ends first."""
    REFUSED = "refused"
    """The peer does not keep up: its outbox is full. It will never arrive."""
    UNREACHABLE = "unreachable"
    """There is no such peer, or not any more. It will never arrive."""

    def __bool__(self) -> bool:
        return self is Delivery.ACCEPTED


@dataclass(slots=True)
class _Entry:
    label: str
    packets: deque[bytes]
    size: int


class Outbox:
    """Packets of whole messages, in order."""

    __slots__ = ("bytes", "entries")

    def __init__(self) -> None:
        self.entries: deque[_Entry] = deque()
        self.bytes = 0

    def __len__(self) -> int:
        """Messages waiting, one that is partly sent included."""
        return len(self.entries)

    def offer(self, label: str, packets: list[bytes]) -> bool:
        """Append a message, unless that would exceed a bound. `label` names it in reports."""
        size = sum(map(len, packets))
        if self.entries and (len(self.entries) >= MAX_MESSAGES or self.bytes + size > MAX_BYTES):
            return False
        self.entries.append(_Entry(label, deque(packets), size))
        self.bytes += size
        return True

    def head(self) -> bytes | None:
        """The packet to send next."""
        return self.entries[0].packets[0] if self.entries else None

    def label(self) -> str:
        """Of the message that the head belongs to."""
        return self.entries[0].label

    def sent(self) -> None:
        """The head was sent."""
        entry = self.entries[0]
        entry.packets.popleft()
        if not entry.packets:
            self.entries.popleft()
            self.bytes -= entry.size

    def abandon(self) -> list[str]:
        """Empty it; return the labels of the messages that will not arrive."""
        labels = [entry.label for entry in self.entries]
        self.entries.clear()
        self.bytes = 0
        return labels

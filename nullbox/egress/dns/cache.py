"""Answers of one agent, as long as they are good. Pure.

Agents do not share a cache: whether a name is in it would be a channel between them.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field

from nullbox.egress.dns.wire import Rcode

MAX_ENTRIES = 1024


@dataclass(frozen=True, slots=True)
class Entry:
    """A settled answer and when it ends, in monotonic seconds."""

    rcode: Rcode
    addresses: tuple[str, ...]
    until: float


@dataclass(slots=True)
class Cache:
    """Name → answer, least recently used out first."""

    entries: OrderedDict[str, Entry] = field(default_factory=OrderedDict)

    def get(self, name: str, now: float) -> Entry | None:
        entry = self.entries.get(name)
        if entry is None:
            return None
        if entry.until <= now:
            del self.entries[name]
            return None
        self.entries.move_to_end(name)
        return entry

    def put(self, name: str, entry: Entry) -> None:
        self.entries[name] = entry
        self.entries.move_to_end(name)
        while len(self.entries) > MAX_ENTRIES:
            self.entries.popitem(last=False)

    def clear(self) -> None:
        self.entries.clear()

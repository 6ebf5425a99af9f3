"""Brings the kernel's record of what it refused into the event log. Effects: asks the firewall and the devices."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from typing import Any

from nullbox.egress.events import RECORDS, Deltas, Denial, EventLog, read_denials
from nullbox.egress.nft import Firewall
from nullbox.egress.ruleset import element
from nullbox.egress.slots import Slot
from nullbox.egress.tap import Taps
from nullbox.protocols.errors import NullBoxError


class Record:
    """wall: Unix time in seconds."""

    def __init__(self, firewall: Firewall, taps: Taps, log: EventLog, wall: Callable[[], float]) -> None:
        self._firewall = firewall
        self._taps = taps
        self._log = log
        self._wall = wall
        self._deltas = Deltas()

    def look(self, agents: Mapping[Slot, str]) -> list[Denial]:
        """What is new since the last look."""
        sets = {name: self._firewall.elements(name) for name in RECORDS}
        fresh = self._deltas.new(read_denials(sets, self._taps.ipv6_drops(list(agents)), agents))
        for denial in fresh:
            self._log.add(denial, self._wall())
        return fresh

    def forget(self, slot: Slot) -> None:
        """Drop what the kernel holds of a link that is gone: the next owner of its TAP has not done it."""
        keys = {
            name: [item["elem"]["val"] for item in self._firewall.elements(name) if _tap_of(item) == slot.tap]
            for name in RECORDS
        }
        # An element may expire before it is deleted; then the rest goes the same way, or at the next end of this link.
        with contextlib.suppress(NullBoxError):
            self._firewall.apply([element("delete", name, found) for name, found in keys.items() if found])


def _tap_of(item: Any) -> str:
    value = item["elem"]["val"]
    return str(value["concat"][0] if isinstance(value, dict) else value)

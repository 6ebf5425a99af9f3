"""Which device and which addresses belong to which agent. Pure.

An agent has a *slot*, a small number that names everything on its link: the TAP `nb<slot>`, a /30 out of 10.90.0.0/16
(RFC 1918), the MAC address of its guest. Slots are given out lowest first and kept as long as the TAP exists; the
kernel remembers the owner in the interface's alias, so nothing about slots is stored anywhere else.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nullbox.protocols.errors import ErrorCode, NullBoxError

TAP_PREFIX = "nb"
"""Interfaces with this prefix carry agents. The ruleset distrusts all of them, known or not."""

SUPERNET = "10.90.0.0/16"
LINK_PREFIX = 30
"""Prefix length of one link: network, gateway, guest, broadcast."""

MAX_SLOTS = 64 * 256

_TAP_NAME = re.compile(rf"^{TAP_PREFIX}(0|[1-9][0-9]{{0,4}})$")


@dataclass(frozen=True, slots=True, order=True)
class Slot:
    """One link's number, and the names and addresses that follow from it."""

    number: int

    def __post_init__(self) -> None:
        if not 0 <= self.number < MAX_SLOTS:
            raise ValueError(f"slot {self.number}: must be 0 to {MAX_SLOTS - 1}")

    @property
    def tap(self) -> str:
        return f"{TAP_PREFIX}{self.number}"

    @property
    def gateway(self) -> str:
        """The host's address on the link: the agent's default route and only resolver."""
        return self._host(1)

    @property
    def guest(self) -> str:
        return self._host(2)

    @property
    def mac(self) -> str:
        """The guest's MAC address; locally administered, unicast (IEEE 802, second-lowest bit of the first octet)."""
        return f"5a:94:ef:00:{self.number >> 8:02x}:{self.number & 0xFF:02x}"

    def _host(self, offset: int) -> str:
        return f"10.90.{self.number // 64}.{4 * (self.number % 64) + offset}"


def slot_of_tap(name: str) -> Slot | None:
    """The slot that an interface name stands for, None if it is not one of ours."""
    found = _TAP_NAME.match(name)
    if found is None or int(found.group(1)) >= MAX_SLOTS:
        return None
    return Slot(int(found.group(1)))


def allocate(owners: Mapping[str, Slot], agent: str, taken: Collection[Slot] = ()) -> Slot:
    """The slot of `agent`: the one it has, else the lowest that is free.

    Args:
        owners: agent → slot, as it is now.
        taken: further slots that must not be given out (interfaces whose owner is unknown).

    Raises:
        NullBoxError: `unavailable`, all slots are in use.
    """
    if agent in owners:
        return owners[agent]
    used = {slot.number for slot in owners.values()} | {slot.number for slot in taken}
    # The lowest free number is at most len(used), so this looks at no more than one number per agent.
    for number in range(min(len(used) + 1, MAX_SLOTS)):
        if number not in used:
            return Slot(number)
    raise NullBoxError(ErrorCode.UNAVAILABLE, f"no network slot is free: at most {MAX_SLOTS} agents have a link")

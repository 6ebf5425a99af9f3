"""Edge: links to agents that are processes of this host, for the development driver: veth pairs instead of TAPs.

The host's end has the TAP's name, addresses and rules, so nothing else of egress knows the difference. The other end is
fetched by the agent's sandbox, and both are gone when its network namespace is.
"""

from __future__ import annotations

from typing import Any

from nullbox.egress.slots import Slot
from nullbox.egress.tap import KernelTaps

PEER_SUFFIX = "p"
"""The agent's end, until it is fetched: the name of the host's end and this. `cage.process_plan` has the same."""


class KernelVeths(KernelTaps):
    """Pairs of virtual Ethernet devices, in the namespace of the calling thread."""

    def _make_device(self, route: Any, slot: Slot, uid: int) -> None:
        peer = slot.tap + PEER_SUFFIX
        found = route.link_lookup(ifname=slot.tap)
        if found:
            if route.link_lookup(ifname=peer):
                return
            # Its other end is in a namespace that is going away: a sandbox asks for a link before it has one.
            route.link("del", index=found[0])
        route.link("add", ifname=slot.tap, kind="veth", peer={"ifname": peer})

"""What egress says to people, as plain data: links with their grants and counters, what a learning agent used. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from nullbox.egress.addresses import AddressRules
from nullbox.egress.links import LEARNING, Link
from nullbox.egress.ruleset import Base
from nullbox.egress.sets import protocol_name
from nullbox.egress.slots import slot_of_tap


def rules(base: Base, addresses: AddressRules, links: Sequence[Link], live: Iterable[Any]) -> dict[str, Any]:
    """What the kernel enforces.

    Args:
        live: the kernel's listing of the set of that name.
    """
    traffic = _counters(live)
    return {
        "uplinks": list(base.uplinks),
        "special": list(base.special),
        "exceptions": [str(network) for network in addresses.exceptions],
        "links": [
            {
                "agent": link.agent,
                "tap": link.slot.tap,
                "guest": link.slot.guest,
                "gateway": link.slot.gateway,
                "calls_per_hour": link.budget,
                "learning": LEARNING in link.marks,
                "grants": [
                    {"grant": text, "mark": mark, **traffic.get((link.slot.tap, mark), {"packets": 0, "bytes": 0})}
                    for text, mark in sorted(link.marks.items())
                ],
            }
            for link in links
        ],
    }


def learned(link: Link, used: Iterable[Any], names: Mapping[str, Collection[str]]) -> dict[str, Any]:
    """What a learning agent reached, and the `allow` list that it would need.

    Args:
        used: the kernel's listing of the set `learned`.
        names: address → the names it was an answer for.
    """
    flows: list[dict[str, Any]] = []
    for item in used:
        tap, address, protocol, port = item["elem"]["val"]["concat"]
        if slot_of_tap(tap) == link.slot:
            count = item["elem"].get("counter", {}).get("packets", 0)
            flow = {"address": address, "protocol": protocol_name(protocol), "port": int(port), "flows": count}
            flows.append({**flow, "names": sorted(names.get(address, ()))})
    flows.sort(key=lambda flow: (flow["address"], flow["protocol"], flow["port"]))
    allow = {f"{name}:{flow['port']}" for flow in flows if flow["protocol"] == "tcp" for name in flow["names"]}
    return {"agent": link.agent, "learning": LEARNING in link.marks, "used": flows, "allow": sorted(allow)}


def _counters(live: Iterable[Any]) -> dict[tuple[str, int], dict[str, int]]:
    """(TAP, mark) → packets and bytes."""
    found = {}
    for item in live:
        if isinstance(item, dict) and "elem" in item:
            tap, mark = item["elem"]["val"]["concat"]
            counter = item["elem"].get("counter", {})
            found[(tap, int(mark))] = {"packets": counter.get("packets", 0), "bytes": counter.get("bytes", 0)}
    return found

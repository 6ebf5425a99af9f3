"""What the agent `prober` (tests/boot/agents) must find, and how it must be on record: in a VM as in a lab."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from netlab import HOST_OUTSIDE, UPSTREAM, WEB, WEB2

PROGRAM = Path(__file__).resolve().parents[1] / "boot" / "agents" / "prober" / "main.py"

WORKS = {
    "allowed name": "open",
    "name under the wildcard": "open",
    "calls beyond the budget": "open/refused/refused",
    "spoofed source": "sent",
    "ipv6": "sent",
}
"""What the agent itself may see succeed. The last two it can only send; where they end is looked for outside."""
DENIED = {"refused", "unreachable", "no address"}
SILENT = {"dns to another server", "multicast dns", "icmp", "quic", "another agent's resolver"}
"""Attempts without TCP, which may hear nothing at all: the kernel limits how many ICMP errors a sender gets."""

ON_RECORD = {
    "address literal": ("packet", WEB2, 443),
    "granted address before its name": ("packet", WEB, 443),
    "allowed name on another port": ("packet", WEB, 8443),
    "two labels under the wildcard": ("unlisted name", "b.a.wild.example.com", 53),
    "the wildcard's own name": ("unlisted name", "wild.example.com", 53),
    "unlisted name": ("unlisted name", "nullbox-secret.evil.org", 53),
    "rebinding": ("rebinding", "169.254.169.254", 53),
    "dns to another server": ("packet", UPSTREAM, 53),
    "dns over tls": ("packet", UPSTREAM, 853),
    "multicast dns": ("packet", UPSTREAM, 5353),
    "icmp": ("packet", WEB, 0),
    "quic": ("packet", WEB, 443),
    "host port": ("packet", "gateway", 22),
    "the host's outer address": ("packet", HOST_OUTSIDE, 22),
    "metadata": ("packet", "169.254.169.254", 80),
    "calls beyond the budget": ("call budget", WEB, 443),
    "spoofed source": ("spoofed", "", 0),
    "ipv6": ("ipv6", "", 0),
}
"""Attempt → how the egress log shows it: kind, name or address, port."""


def account(lines: Iterable[str]) -> dict[str, str]:
    """Attempt → how it ended, from what the agent has said.

    Raises:
        AssertionError: it has not said everything; the message says what it has.
    """
    texts = [text for _, mark, text in (line.partition("prober: ") for line in lines) if mark]
    assert texts[-1:] == ["done"], f"the prober stopped after {texts}"
    found: dict[str, str] = {}
    for text in texts[:-1]:
        found |= json.loads(text)
    return found


def wrong(verdicts: dict[str, str]) -> dict[str, str]:
    """The attempts that did not end as they must."""
    return {what: verdict for what, verdict in verdicts.items() if not _right(what, verdict)}


def _right(what: str, verdict: str) -> bool:
    if what in WORKS:
        return verdict == WORKS[what]
    return set(verdict.split("/")) <= DENIED or (what in SILENT and verdict == "silent")


def unrecorded(denials: Iterable[dict[str, Any]]) -> dict[str, tuple[str, str, int]]:
    """The attempts that the denials do not show."""
    found = set()
    for each in denials:
        where = each["address"] or each["name"]
        found |= {(each["kind"], where, each["port"])}
        found |= {(each["kind"], "gateway", each["port"])} if where.startswith("10.90.") else set()
    return {what: entry for what, entry in ON_RECORD.items() if entry not in found}

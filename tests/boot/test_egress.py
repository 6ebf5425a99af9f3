"""An agent in its VM that tries to get out: only what its manifest grants works, and every refusal is on record.

The attacks and their twins are in `tests/net`; here the core of them meets the whole system, from a guest's first
packet to a server outside.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import netlab
import outside
import pytest
from netlab import HOST_OUTSIDE, UPSTREAM, WEB, WEB2
from operator_view import NULLCTL, Machine, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(netlab.missing()), reason=f"the machine has no network card: {netlab.missing()}"),
]

WORKS = {
    "allowed name": "open",
    "name under the wildcard": "open",
    "calls beyond the budget": "open/refused/refused",
    "ipv6": "sent",
    "spoofed source": "sent",
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
    "ipv6": ("ipv6", "", 0),
    "spoofed source": ("spoofed", "", 0),
}
"""Attempt → how the egress log shows it: kind, name or address, port."""


@pytest.fixture(scope="module")
def followed(machine: Machine) -> Iterator[subprocess.Popen[str]]:
    """`nullctl egress log -f`, from before the first attempt on."""
    command = [str(NULLCTL), "--socket", str(machine.folder.socket), "-o", "json", "egress", "log", "-f", "prober"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True) as follower:
        yield follower
        follower.kill()


@pytest.fixture
def verdicts(
    machine: Machine, internet: outside.Outside, still: None, followed: subprocess.Popen[str]
) -> Iterator[dict[str, str]]:
    """How each attempt of the agent ended, by its own account."""
    assert internet.inside(netlab.tcp, WEB2, 443) == "open", "the servers outside answer"
    machine.ok("agent", "start", "prober")

    def lines() -> list[str]:
        texts = (line.partition("prober: ") for line in machine.ok("agent", "logs", "prober").splitlines())
        return [text for _, mark, text in texts if mark]

    with contextlib.suppress(AssertionError):  # what has been told by then is told below
        until(lambda: "done" in lines(), seconds=240, what="the prober's account", every=1.0)
    *told, last = lines()
    assert last == "done", f"the prober stopped after {[*told, last]}"
    found: dict[str, str] = {}
    for text in told:
        found |= json.loads(text)
    yield found
    machine.ok("agent", "stop", "prober")


def test_a_guest_gets_out_by_its_grants_only_and_every_refusal_is_on_record(
    machine: Machine, internet: outside.Outside, verdicts: dict[str, str], followed: subprocess.Popen[str]
) -> None:
    wrong = {
        what: verdict
        for what, verdict in verdicts.items()
        if verdict != WORKS.get(what, verdict) or (what not in WORKS and not refused(what, verdict))
    }
    assert wrong == {}, verdicts

    # The servers outside saw what was granted, and from the machine's own address.
    assert set(internet.servers.call("hits")) == {("tcp", HOST_OUTSIDE, 443), ("tcp", WEB2, 443)}
    asked = {name for name, _ in internet.names.call("questions")}
    assert asked == {"web.example.com", "a.wild.example.com", "rebind.example.com"}
    frames, secrets = internet.frames.call("seen")
    assert frames > 0
    assert secrets == [], "something that no rule allows was on the wire"

    denials = machine.json("egress", "log", "prober")
    check_record(denials)
    assert machine.json("egress", "explain", "prober", "web.example.com")["allowed"] is True
    [link] = machine.json("egress", "rules", "prober")["links"]
    assert any(grant["packets"] for grant in link["grants"] if grant["grant"] == "web.example.com:443")

    # Whoever follows the log sees the same.
    assert followed.stdout is not None
    seen = [json.loads(followed.stdout.readline()) for _ in denials]
    assert {each["kind"] for each in seen} <= {each["kind"] for each in denials}

    def recorded() -> bool:
        events = [json.loads(line) for line in machine.ok("-o", "json", "events").splitlines()]
        kinds = {each["what"] for each in events if each["kind"] == "denied" and each["child"] == "cage:prober"}
        return {"unlisted name", "rebinding", "packet", "call budget", "spoofed", "ipv6"} <= kinds

    until(recorded, seconds=60, what="the refusals among the events", every=1.0)


def refused(what: str, verdict: str) -> bool:
    return set(verdict.split("/")) <= DENIED or (what in SILENT and verdict == "silent")


def check_record(denials: list[dict[str, Any]]) -> None:
    found = {(each["kind"], each["address"] or each["name"], each["port"]) for each in denials}
    found |= {(each["kind"], "gateway", each["port"]) for each in denials if each["address"].startswith("10.90.")}
    missing = {what: entry for what, entry in ON_RECORD.items() if entry not in found}
    assert missing == {}, sorted(found)
    assert all(each["agent"] == "prober" and each["count"] >= 1 for each in denials)


def test_the_operator_sees_the_way_out(machine: Machine) -> None:
    shown = machine.json("status")
    assert shown["egress"] == {"uplinks": [], "upstreams": [], "exceptions": [], "learn": False}
    assert (shown["uplink"]["interface"], shown["uplink"]["address"]) == ("eth0", HOST_OUTSIDE)
    assert machine.json("egress", "rules")["uplinks"] == ["eth0"]
    refused = machine.nullctl("egress", "learn", "pulse")
    assert refused.code == 4
    assert "egress.learn = true in nulld.toml permits it" in refused.err

"""An agent in its VM that tries to get out: only what its manifest grants works, and every refusal is on record.

The attacks and their twins are in `tests/net`; here the core of them meets the whole system, from a guest's first
packet to a server outside.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator

import netspace
import outside
import prober
import pytest
import traffic
from netlab import HOST_OUTSIDE, WEB2
from operator_view import NULLCTL, Machine, until

pytestmark = pytest.mark.skipif(
    bool(netspace.missing()), reason=f"the machine has no network card: {netspace.missing()}"
)


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
    assert internet.inside(traffic.tcp, WEB2, 443) == "open", "the servers outside answer"
    machine.ok("agent", "start", "prober")

    def told() -> list[str]:
        return machine.ok("agent", "logs", "prober").splitlines()

    with contextlib.suppress(AssertionError):  # what has been told by then is in the account
        until(lambda: any("prober: done" in line for line in told()), seconds=240, what="the account", every=1.0)
    yield prober.account(told())
    machine.ok("agent", "stop", "prober")


def test_a_guest_gets_out_by_its_grants_only_and_every_refusal_is_on_record(
    machine: Machine, internet: outside.Outside, verdicts: dict[str, str], followed: subprocess.Popen[str]
) -> None:
    assert prober.wrong(verdicts) == {}

    # The servers outside saw what was granted, and from the machine's own address.
    assert set(internet.servers.call("hits")) == {("tcp", HOST_OUTSIDE, 443), ("tcp", WEB2, 443)}
    asked = {name for name, _ in internet.names.call("questions")}
    assert asked == {"web.example.com", "a.wild.example.com", "rebind.example.com"}
    frames, secrets = internet.frames.call("seen")
    assert frames > 0
    assert secrets == [], "something that no rule allows was on the wire"

    denials = [json.loads(line) for line in machine.ok("-o", "json", "egress", "log", "prober").splitlines()]
    assert prober.unrecorded(denials) == {}
    assert all(each["agent"] == "prober" and each["count"] >= 1 for each in denials)
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


def test_the_operator_sees_the_way_out(machine: Machine) -> None:
    shown = machine.json("status")
    assert shown["egress"] == {"uplinks": [], "upstreams": [], "exceptions": [], "learn": False}
    assert (shown["uplink"]["interface"], shown["uplink"]["address"]) == ("eth0", HOST_OUTSIDE)
    assert machine.json("egress", "rules")["uplinks"] == ["eth0"]
    refused = machine.nullctl("egress", "learn", "pulse")
    assert refused.code == 4
    assert "egress.learn = true in nulld.toml permits it" in refused.err

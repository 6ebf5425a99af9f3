"""What reaches what, with no grant and with one. Each refusal has a twin in which the same attempt succeeds."""

from __future__ import annotations

import time

import netlab
import netspace
import pytest
import traffic
from netlab import INTERNET, WEB, Lab
from traffic import Servers

from nullbox.egress.policy import parse_policy
from nullbox.egress.slots import Slot

NOTHING = parse_policy([])
ONE, OTHER = Slot(0), Slot(1)

UDP, TCP = traffic.udp, traffic.tcp
REFUSALS = ("refused", "unreachable")
ATTEMPTS = {
    "tcp to an address outside": (TCP, WEB, 443),
    "tcp to the host's uplink address": (TCP, netlab.HOST_OUTSIDE, 22),
    "tcp to another port of the gateway": (TCP, ONE.gateway, 22),
    "udp to another port of the gateway": (UDP, ONE.gateway, 123),
    "dns to the other agent's gateway address": (UDP, OTHER.gateway, 53),
    "tcp to the other agent": (TCP, OTHER.guest, 80),
    "udp to the other agent": (UDP, OTHER.guest, 53),
    "dns to a resolver outside": (UDP, INTERNET, 53),
    "dns over tcp to a resolver outside": (TCP, INTERNET, 53),
    "dns over tls to a resolver outside": (TCP, INTERNET, 853),
    "multicast dns to an address outside": (UDP, INTERNET, 5353),
    "dns over https to a literal address": (TCP, INTERNET, 443),
    "link-local name resolution to an address outside": (UDP, INTERNET, 5355),
    "quic to an address outside": (UDP, WEB, 443),
}


def serve(lab: Lab) -> list[netspace.Worker]:
    ports = {"tcp": [22, 53, 80, 443, 853], "udp": [53, 123, 443, 5353, 5355]}
    roles = ("host", "internet", "agent1")
    return [lab.worker(role, lambda: Servers(**ports)) for role in roles]


def hits(servers: list[netspace.Worker]) -> list[object]:
    return [hit for server in servers for hit in server.call("hits")]


@pytest.fixture
def closed(lab: Lab) -> Lab:
    lab.host.call("open_link", "agent0", NOTHING)
    lab.host.call("open_link", "agent1", NOTHING)
    return lab


def test_the_gateway_address_answers_on_port_53(closed: Lab) -> None:
    serve(closed)
    assert closed.inside("agent0", traffic.udp, ONE.gateway, 53) == "open"
    assert closed.inside("agent0", traffic.tcp, ONE.gateway, 53) == "open"
    assert closed.inside("agent1", traffic.udp, OTHER.gateway, 53) == "open"


def test_nothing_else_is_reached_and_tcp_is_refused_at_once(closed: Lab) -> None:
    servers = serve(closed)
    for what, (how, address, port) in ATTEMPTS.items():
        result = closed.inside("agent0", how, address, port)
        # How many ICMP errors a sender gets is limited by the kernel (ip-sysctl.rst, icmp_ratelimit).
        assert result in REFUSALS or (result == "silent" and how is UDP), f"{what}: {result}"
    assert hits(servers) == []


def test_twin_without_rules_every_attempt_succeeds(open_lab: Lab) -> None:
    servers = serve(open_lab)
    for number, (what, (how, address, port)) in enumerate(ATTEMPTS.items(), 1):
        open_lab.inside("agent0", how, address, port)
        assert len(hits(servers)) == number, what


def test_a_link_that_was_never_opened_passes_nothing(lab: Lab) -> None:
    servers = serve(lab)
    lab.host.call("unprotected", [0])
    for address, port in ((ONE.gateway, 53), (WEB, 443)):
        assert lab.inside("agent0", traffic.udp, address, port, b"x", 0.3) == "silent"
        assert lab.inside("agent0", traffic.tcp, address, port, 0.3) == "silent"
    assert hits(servers) == []


def test_a_reload_changes_nothing(closed: Lab) -> None:
    servers = serve(closed)
    closed.host.call("restart")
    closed.host.call("prepare")
    assert closed.host.call("reconcile", ["agent0", "agent1"]) == []
    assert closed.inside("agent0", traffic.udp, ONE.gateway, 53) == "open"
    assert len(hits(servers)) == 1
    for _, (how, address, port) in ATTEMPTS.items():
        result = closed.inside("agent0", how, address, port)
        assert result in REFUSALS or (result == "silent" and how is UDP)
    assert len(hits(servers)) == 1


def test_denials_are_counted_with_address_port_and_reason(closed: Lab) -> None:
    closed.inside("agent0", traffic.tcp, WEB, 443)
    closed.inside("agent0", traffic.tcp, WEB, 443)
    closed.inside("agent0", traffic.tcp, INTERNET, 853)
    closed.inside("agent0", traffic.tcp, ONE.gateway, 22)
    found = {
        tuple(item["elem"]["val"]["concat"]): item["elem"]["counter"]["packets"]
        for item in closed.host.call("elements", "denied")
    }
    assert found == {
        ("nb0", WEB, "tcp", 443, 5): 2,
        ("nb0", INTERNET, "tcp", 853, 2): 1,
        ("nb0", ONE.gateway, "tcp", 22, 6): 1,
    }


def test_a_grant_is_for_one_agent_one_address_and_one_port(lab: Lab) -> None:
    servers = serve(lab)
    policy = parse_policy(["web.example.com"])
    lab.host.call("open_link", "agent0", policy)
    lab.host.call("open_link", "agent1", policy)
    lab.host.call("pin", "agent0", "web.example.com:443", WEB, 443)
    assert lab.inside("agent0", traffic.tcp, WEB, 443) == "open"
    assert lab.inside("agent0", traffic.tcp, WEB, 80) == "refused"
    assert lab.inside("agent0", traffic.tcp, netlab.WEB2, 443) == "refused"
    assert lab.inside("agent0", traffic.udp, WEB, 443) == "refused"
    assert lab.inside("agent1", traffic.tcp, WEB, 443) == "refused", "another agent's grant"
    assert hits(servers) == [("tcp", netlab.HOST_OUTSIDE, 443)], "the world sees the host's address, not the agent's"


def test_an_expired_answer_leaves_the_flow_and_a_revoked_grant_cuts_it(lab: Lab) -> None:
    serve(lab)
    both = parse_policy(["web.example.com", "other.example.com"])
    lab.host.call("open_link", "agent0", both)
    lab.host.call("pin", "agent0", "web.example.com:443", WEB, 443, 1)
    lab.host.call("pin", "agent0", "other.example.com:443", netlab.WEB2, 443)
    flow = lab.worker("agent0", lambda: traffic.Flow(WEB, 443))
    other = lab.worker("agent0", lambda: traffic.Flow(netlab.WEB2, 443))
    deadline = time.monotonic() + traffic.DEADLINE
    while lab.inside("agent0", traffic.tcp, WEB, 443) == "open":
        assert time.monotonic() < deadline, "the answer never expired"
    assert flow.call("echo") == "open"
    lab.host.call("open_link", "agent0", parse_policy(["other.example.com"]))
    assert flow.call("echo") in ("reset", "silent")
    assert other.call("echo") == "open"
    lab.host.call("open_link", "agent0", both)
    assert flow.call("echo") != "open", "a grant that returns must not revive the old flow"


def test_the_host_can_ask_an_agent_and_gets_its_answer(lab: Lab) -> None:
    lab.host.call("open_link", "agent1", NOTHING)
    lab.worker("agent1", lambda: Servers(tcp=[8080]))
    assert lab.inside("host", traffic.tcp, OTHER.guest, 8080) == "open"


def test_a_budget_of_calls_is_kept_by_the_kernel(lab: Lab) -> None:
    serve(lab)
    lab.host.call("open_link", "agent0", parse_policy(["web.example.com"], 30))
    lab.host.call("pin", "agent0", "web.example.com:443", WEB, 443)
    results = [lab.inside("agent0", traffic.tcp, WEB, 443) for _ in range(6)]
    assert results == ["open"] * 3 + ["refused"] * 3
    denied = lab.host.call("elements", "denied")
    assert [item["elem"]["val"]["concat"][-1] for item in denied] == [3]
    [denial] = [each for each in lab.host.call("denials") if each["kind"] != "ipv6"]
    assert (denial["kind"], denial["address"], denial["port"], denial["count"]) == ("call budget", WEB, 443, 3)


def test_a_closed_link_frees_its_flows_and_its_name(lab: Lab) -> None:
    serve(lab)
    lab.host.call("open_link", "agent0", parse_policy(["web.example.com"]))
    lab.host.call("pin", "agent0", "web.example.com:443", WEB, 443)
    lab.host.call("close_link", "agent0")
    assert lab.host.call("tap_list") == [] or all(tap.agent != "agent0" for tap in lab.host.call("tap_list"))
    assert lab.host.call("elements", "live") == []

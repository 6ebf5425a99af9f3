"""Attacks on what agents share: connection tracking, the resolver's sockets and time, each other's flows."""

from __future__ import annotations

import contextlib
import shutil
import socket
import struct
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import netlab
import outside
import prober
import pytest
import traffic
from namelab import NameHost, NameServer, Zone, lookup
from netlab import WEB, Lab
from traffic import Servers, ethernet, ipv4, mac

from nullbox.egress.chains import MAX_FLOWS_PER_AGENT
from nullbox.egress.dns.server import MAX_CONNECTIONS
from nullbox.egress.policy import parse_policy
from nullbox.egress.slots import Slot

PAYLOAD = b"NULLBOX-ATTACK"
GRANT = parse_policy(["web.example.com"])
ONE, OTHER = Slot(0), Slot(1)


def connect_many(address: str, port: int, count: int) -> dict[str, int]:
    """Open connections and keep them; how the attempts ended."""
    results: dict[str, int] = {}
    with contextlib.ExitStack() as held:
        for _ in range(count):
            flow = held.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM))
            flow.settimeout(3)
            try:
                flow.connect((address, port))
                outcome = "open"
            except OSError as error:
                outcome = type(error).__name__
            results[outcome] = results.get(outcome, 0) + 1
    return results


def test_one_agent_cannot_take_all_flows(lab: Lab) -> None:
    for agent in ("agent0", "agent1"):
        lab.host.call("open_link", agent, GRANT)
        lab.host.call("pin", agent, "web.example.com:443", WEB, 443)
    lab.worker("internet", lambda: Servers(tcp=[443]))
    more = 20
    results = lab.inside("agent0", connect_many, WEB, 443, MAX_FLOWS_PER_AGENT + more)
    assert results == {"open": MAX_FLOWS_PER_AGENT, "ConnectionRefusedError": more}
    assert lab.inside("agent1", traffic.tcp, WEB, 443) == "open"


def test_twin_without_rules_there_is_no_end_of_flows(open_lab: Lab) -> None:
    open_lab.worker("internet", lambda: Servers(tcp=[443]))
    count = MAX_FLOWS_PER_AGENT + 20
    assert open_lab.inside("agent0", connect_many, WEB, 443, count) == {"open": count}


def icmp_error(gateway: bytes) -> bytes:
    """Agent 1 tells the web server that agent 0's packets do not arrive (RFC 792), with a message in the quotation."""
    quoted = ipv4(ONE.guest, WEB, struct.pack("!HHI", 40000, 443, 1) + PAYLOAD, 6)
    body = struct.pack("!BBHI", 3, 1, 0, 0) + quoted
    body = body[:2] + struct.pack("!H", traffic.checksum(body)) + body[4:]
    return ethernet(gateway, mac(OTHER.mac), ipv4(OTHER.guest, WEB, body, 1))


def launch(lab: Lab) -> int:
    gateway = lab.inside("host", traffic.device_mac, OTHER.tap)
    with netlab.sniffing(lab, "internet") as outside:
        lab.inside("agent1", traffic.send_frame, "eth0", icmp_error(gateway))
        return sum(PAYLOAD in frame for frame in outside())


def test_an_agent_cannot_speak_about_anothers_flow(lab: Lab) -> None:
    for agent in ("agent0", "agent1"):
        lab.host.call("open_link", agent, GRANT)
        lab.host.call("pin", agent, "web.example.com:443", WEB, 443)
    lab.worker("internet", lambda: Servers(tcp=[443]))
    lab.worker("agent0", lambda: traffic.Flow(WEB, 443))
    assert launch(lab) == 0


def test_twin_without_rules_it_can(open_lab: Lab) -> None:
    assert launch(open_lab) == 1


@pytest.fixture
def named() -> Iterator[Lab]:
    with Lab(host=NameHost) as lab:
        lab.host.call("prepare")
        for agent in ("agent0", "agent1"):
            lab.host.call("open_link", agent, GRANT)
        names = lab.worker("internet", NameServer)
        names.call("tell", {"web.example.com": Zone([WEB])})
        lab.worker("internet", lambda: Servers(tcp=[443]))
        yield lab


class Idlers:
    """Connections to a resolver that never ask anything."""

    def __init__(self, count: int) -> None:
        self._flows = [socket.create_connection((ONE.gateway, 53), 3) for _ in range(count)]

    def closed(self) -> int:
        """How many the other side has given up by now."""
        ended = 0
        for flow in self._flows:
            flow.settimeout(0.2)
            with contextlib.suppress(TimeoutError):
                try:
                    ended += flow.recv(1) == b""
                except ConnectionError:
                    ended += 1
        return ended


def test_idle_connections_block_nobody(named: Lab) -> None:
    idlers = named.worker("agent0", lambda: Idlers(MAX_CONNECTIONS + 10))
    assert idlers.call("closed") >= 10, "connections past the limit are closed at once"
    for agent, gateway in (("agent0", ONE.gateway), ("agent1", OTHER.gateway)):
        assert named.inside(agent, lookup, gateway, "web.example.com").values == [WEB]
    assert named.inside("agent1", lambda: lookup(OTHER.gateway, "web.example.com", tcp=True)).values == [WEB]


class Flood:
    """Nonsense to a resolver, as fast as it goes, for a bounded time."""

    def __init__(self, seconds: float) -> None:
        import threading

        threading.Thread(target=self._run, args=(time.monotonic() + seconds,), daemon=True).start()

    @staticmethod
    def _run(end: float) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
            number = 0
            while time.monotonic() < end:
                number += 1
                with contextlib.suppress(OSError):
                    link.sendto(
                        struct.pack("!HHHHHH", number & 0xFFFF, 0x0100, 1, 0, 0, 0) + b"\x3f" * 40, (ONE.gateway, 53)
                    )


def test_a_flood_of_nonsense_leaves_others_their_answers(named: Lab) -> None:
    named.worker("agent0", lambda: Flood(3.0))
    for _ in range(10):
        assert named.inside("agent1", lookup, OTHER.gateway, "web.example.com").values == [WEB]


def client(lab: Lab, *argv: str) -> str:
    """What a real program says that runs in agent 0's namespace and uses the agent's resolver."""
    script = 'printf "nameserver %s\\noptions timeout:2 attempts:1\\n" "$1" > "$2"'
    script += '; mount --bind "$2" /etc/resolv.conf; shift 2; exec "$@"'
    with netlab.scratch() as path:
        done = lab.run("agent0", ["sh", "-c", script, "sh", ONE.gateway, path, *argv])
    return done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_gets_through_to_a_granted_host_and_nowhere_else(named: Lab) -> None:
    assert "hello" in client(named, "curl", "-sS", "-m", "2", "--http0.9", "http://web.example.com:443/")
    assert "Could not resolve host" in client(named, "curl", "-sS", "-m", "5", "http://evil.example.org:443/")
    assert "Failed to connect" in client(named, "curl", "-sS", "-m", "5", "http://45.33.32.11:443/")


RESOLVE = r"""
#include <netdb.h>
#include <stdio.h>
#include <arpa/inet.h>
int main(int argc, char **argv) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    int error = getaddrinfo(argv[1], "443", &hints, &found);
    if (error) { printf("error: %s\n", gai_strerror(error)); return 1; }
    for (; found; found = found->ai_next) {
        char text[64] = "other";
        if (found->ai_family == AF_INET)
            inet_ntop(AF_INET, &((struct sockaddr_in *)found->ai_addr)->sin_addr, text, sizeof text);
        printf("%s\n", text);
    }
    return 0;
}
"""


@pytest.mark.skipif(shutil.which("musl-gcc") is None, reason="musl-gcc is not installed")
def test_the_resolver_of_musl_understands_the_answers(named: Lab, tmp_path: Path) -> None:
    (tmp_path / "resolve.c").write_text(RESOLVE)
    program = str(tmp_path / "resolve")
    subprocess.run(["musl-gcc", "-static", "-o", program, str(tmp_path / "resolve.c")], check=True)
    assert client(named, program, "web.example.com") == f"{WEB}\n"
    assert client(named, program, "evil.example.org").startswith("error:")


def probe(lab: Lab, resolver: str) -> dict[str, str]:
    """The account of the agent that the boot tests let loose in a VM, here in agent 0's namespace."""
    script = 'printf "nameserver %s\\noptions timeout:2 attempts:1\\n" "$1" > "$2"'
    script += '; mount --bind "$2" /etc/resolv.conf; shift 2; exec "$@"'
    told = []
    with netlab.scratch() as path:
        program = lab.spawn("agent0", ["sh", "-c", script, "sh", resolver, path, "python3", str(prober.PROGRAM)])
        assert program.stdout is not None
        for line in program.stdout:
            told.append(line.rstrip())
            if "prober: done" in line:
                break
    program.kill()
    return prober.account(told)


def test_the_prober_finds_what_it_must_and_all_of_it_is_on_record() -> None:
    with Lab(host=NameHost) as lab:
        lab.host.call("prepare")
        manifest = tomllib.loads(prober.PROGRAM.with_name("AGENT.toml").read_text())["capabilities"]
        policy = parse_policy(manifest["network"]["allow"], manifest["max_api_calls_per_hour"])
        lab.host.call("open_link", "agent0", policy)
        lab.host.call("open_link", "agent1", parse_policy([]))
        lab.worker("internet", NameServer).call("tell", outside.ZONES)
        servers = lab.worker("internet", lambda: Servers(tcp=outside.TCP_PORTS, udp=outside.UDP_PORTS))
        assert prober.wrong(probe(lab, ONE.gateway)) == {}
        assert set(servers.call("hits")) == {("tcp", netlab.HOST_OUTSIDE, 443)}
        denials = [each for each in lab.host.call("denials") if each["agent"] == "agent0"]
        assert prober.unrecorded(denials) == {}


def test_twin_without_rules_the_prober_gets_everywhere(open_lab: Lab) -> None:
    open_lab.worker("internet", NameServer).call("tell", outside.ZONES)
    servers = open_lab.worker("internet", lambda: Servers(tcp=outside.TCP_PORTS, udp=outside.UDP_PORTS))
    open_lab.worker("host", lambda: Servers(tcp=[22], udp=[53]))
    open_lab.worker("agent1", lambda: Servers(tcp=[80]))
    verdicts = probe(open_lab, netlab.UPSTREAM)
    unheard = {what for what, verdict in verdicts.items() if not {"open", "sent"} & set(verdict.split("/"))}
    # The lab's name server says nothing before it is asked; its datagrams come back from another address.
    assert unheard == {"dns over tcp to another server", "multicast dns", "quic"}
    assert {("udp", ONE.guest, port) for port in outside.UDP_PORTS} <= set(servers.call("hits"))

"""The lab with names: a name server upstream that can be told to lie, and a host whose resolvers ask it."""

from __future__ import annotations

import select
import socket
import struct
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import dnslib
import netlab
from netlab import UPLINK, UPSTREAM, Host

import nullbox.egress.dns.resolver as resolver_module
import nullbox.egress.pins as pins_module
from nullbox.egress import devices, queries
from nullbox.egress.addresses import AddressRules, parse_exceptions, special_v4
from nullbox.egress.dns.limits import Bucket, Limits
from nullbox.egress.dns.server import ResolverThread
from nullbox.egress.dns.upstream import Server, Upstream
from nullbox.egress.ruleset import Base
from nullbox.egress.service import EgressService


@dataclass
class Zone:
    """What the name server says about one name.

    lie: `` (none), `other id`, `other name`, `silence`, `garbage`, `truncate` (over UDP only).
    """

    addresses: list[str] = field(default_factory=list)
    ttl: int = 60
    alias: str = ""
    aaaa: list[str] = field(default_factory=list)
    txt: str = ""
    lie: str = ""
    rcode: int = 0


class NameServer:
    """Authoritative for what it is told, over UDP and TCP on one address. `fresh.…` gets a new address each time."""

    def __init__(self, address: str = UPSTREAM, port: int = 53) -> None:
        self.zones: dict[str, Zone] = {}
        self.asked: list[tuple[str, str]] = []
        self.fresh = int(IPv4Address("45.100.0.0"))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind((address, port))
        self._tcp = socket.create_server((address, port))
        threading.Thread(target=self._loop, daemon=True).start()

    def tell(self, zones: dict[str, Zone]) -> None:
        self.zones.update(zones)

    def questions(self) -> list[tuple[str, str]]:
        return list(self.asked)

    def _loop(self) -> None:
        while True:
            for ready in select.select([self._udp, self._tcp], [], [])[0]:
                if ready is self._udp:
                    data, peer = self._udp.recvfrom(4096)
                    for answer in self._answers(data, udp=True):
                        self._udp.sendto(answer, peer)
                else:
                    flow, _ = self._tcp.accept()
                    with flow:
                        (length,) = struct.unpack("!H", flow.recv(2, socket.MSG_WAITALL))
                        for answer in self._answers(flow.recv(length, socket.MSG_WAITALL), udp=False):
                            flow.sendall(struct.pack("!H", len(answer)) + answer)

    def _answers(self, data: bytes, *, udp: bool) -> Iterable[bytes]:
        query = dnslib.DNSRecord.parse(data)
        name = str(query.q.qname).rstrip(".").lower()
        kind = dnslib.QTYPE[query.q.qtype]
        self.asked.append((name, kind))
        zone = self.zones.get(name)
        if zone is None and ".fresh." in name:
            self.fresh += 1
            zone = Zone([str(IPv4Address(self.fresh))])
        answer = query.reply()
        if zone is None:
            answer.header.rcode = 3
            yield bytes(answer.pack())
            return
        answer.header.rcode = zone.rcode
        if zone.lie == "silence":
            return
        if zone.lie == "garbage":
            yield data[:2] + b"\x81\x80" + b"\xff" * 30
        if zone.lie in ("other id", "other name"):
            # Poison first, then the truth: whoever takes the first answer is lost.
            poison = query.reply()
            poison.add_answer(dnslib.RR(query.q.qname, 1, 1, 60, dnslib.A(netlab.WEB2)))
            if zone.lie == "other id":
                poison.header.id = (query.header.id + 1) % 0x10000
            else:
                poison.questions = [dnslib.DNSQuestion("other.example.com")]
            yield bytes(poison.pack())
        if zone.lie == "truncate" and udp:
            answer.header.tc = 1
            yield bytes(answer.pack())
            return
        if zone.alias:
            answer.add_answer(dnslib.RR(query.q.qname, 5, 1, zone.ttl, dnslib.CNAME(zone.alias)))
            target = self.zones.get(zone.alias, Zone())
            for address in target.addresses:
                answer.add_answer(dnslib.RR(zone.alias, 1, 1, target.ttl, dnslib.A(address)))
        if kind == "A":
            for address in zone.addresses:
                answer.add_answer(dnslib.RR(query.q.qname, 1, 1, zone.ttl, dnslib.A(address)))
        if kind == "AAAA":
            for address in zone.aaaa:
                answer.add_answer(dnslib.RR(query.q.qname, 28, 1, zone.ttl, dnslib.AAAA(IPv6Address(address).exploded)))
        if kind == "TXT" and zone.txt:
            answer.add_answer(dnslib.RR(query.q.qname, 16, 1, zone.ttl, dnslib.TXT(zone.txt)))
        yield bytes(answer.pack())


class NameHost(Host):
    """The host with resolvers and with the table of special-purpose addresses.

    Args:
        exceptions: CIDR blocks that are let through although they are special-purpose.
        unlimited: lift the caps that would slow down a test of something else.
    """

    def __init__(self, exceptions: tuple[str, ...] = (), *, unlimited: bool = False) -> None:
        self.exceptions = exceptions
        self.resolvers: ResolverThread | None = None
        if unlimited:
            resolver_module.Limits = lambda: Limits(Bucket(1e9, 1e9), Bucket(1e9, 1e9))  # type: ignore[misc,assignment]
            pins_module.MAX_PINS = 1_000_000
        super().__init__()

    def restart(self) -> None:
        if self.resolvers is not None:
            self.resolvers.stop()
        self.resolvers = ResolverThread()
        self.service = EgressService(
            Base((UPLINK,), special_v4(self.exceptions)),
            self.firewall,
            self.taps,
            self.resolvers,
            ask=Upstream([Server(UPSTREAM)], 0.5).ask,
            may_learn=True,
            rules=AddressRules(devices.addresses(), parse_exceptions(self.exceptions)),
        )

    def ask(self, verb: str, **params: Any) -> Any:
        return queries.answer(self.service, verb, params)

    def flush_dns(self, agent: str) -> int:
        return self.service.flush_dns(agent)

    def events(self) -> list[tuple[str, str, str, str, int, int]]:
        """Every denial so far: agent, kind, name, address, port, count."""
        self.service.poll()
        return [(e.agent, e.kind, e.name, e.address, e.port, e.count) for e in self.service.events.since()]


@dataclass
class Answer:
    """What a client sees of an answer; rcode -1: there was none."""

    rcode: int
    values: list[str] = field(default_factory=list)
    ttl: int = 0
    truncated: bool = False


def lookup(server: str, name: str, kind: str = "A", *, tcp: bool = False, timeout: float = 4.0) -> Answer:
    """Ask one question."""
    data = bytes(dnslib.DNSRecord.question(name, kind).pack())
    try:
        if tcp:
            with socket.create_connection((server, 53), timeout) as flow:
                flow.sendall(struct.pack("!H", len(data)) + data)
                (length,) = struct.unpack("!H", flow.recv(2, socket.MSG_WAITALL))
                raw = flow.recv(length, socket.MSG_WAITALL)
        else:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
                link.settimeout(timeout)
                link.connect((server, 53))
                link.send(data)
                raw = link.recv(65535)
    except OSError:
        return Answer(-1)
    record = dnslib.DNSRecord.parse(raw)
    values = [str(rr.rdata) for rr in record.rr if rr.rtype != 5]
    return Answer(record.header.rcode, values, min((rr.ttl for rr in record.rr), default=0), bool(record.header.tc))


def lookup_all(server: str, names: list[str], kind: str = "A", timeout: float = 4.0) -> list[Answer]:
    return [lookup(server, name, kind, timeout=timeout) for name in names]


def race(server: str, rounds: int, port: int) -> dict[str, int]:
    """Resolve a name that is new each time, and connect the instant the answer is there; how the connects ended."""
    results: dict[str, int] = {}
    for number in range(rounds):
        answer = lookup(server, f"n{number}.fresh.example.com")
        outcome = "unresolved"
        if answer.values:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as flow:
                flow.settimeout(3)
                flow.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                try:
                    flow.connect((answer.values[0], port))
                    outcome = "open"
                except OSError as error:
                    outcome = type(error).__name__
        results[outcome] = results.get(outcome, 0) + 1
    return results

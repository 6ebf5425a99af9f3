"""One agent's resolver over in-memory twins: order of effects above all."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress.addresses import AddressRules
from nullbox.egress.dns.chain import MAX_HOPS
from nullbox.egress.dns.resolver import HOT_S, AgentResolver
from nullbox.egress.dns.wire import CNAME, A, Query, Rcode, Record, UpstreamAnswer
from nullbox.egress.policy import parse_grant
from nullbox.protocols.errors import ErrorCode, NullBoxError

API = "api.example.com"


class World:
    """Upstream, kernel, clock and log, with everything in the order in which it happened."""

    def __init__(self, *grants: str, learn: bool = False) -> None:
        self.zone: dict[str, UpstreamAnswer] = {}
        self.trace: list[Any] = []
        self.reports: list[tuple[str, str, str]] = []
        self.now = 1000.0
        self.pin_error: NullBoxError | None = None
        self.gate: asyncio.Event | None = None
        self.resolver = AgentResolver(
            [parse_grant(text) for text in grants],
            AddressRules(),
            ask=self.ask,
            pin=self.pin,
            report=lambda kind, name, address, detail: self.reports.append((kind, name, address)),
            clock=lambda: self.now,
            learn=learn,
        )

    def a(self, name: str, *addresses: str, ttl: int = 60) -> None:
        self.zone[name] = UpstreamAnswer(0, tuple(Record(name, A, ttl, address) for address in addresses))

    async def ask(self, name: str) -> UpstreamAnswer:
        self.trace.append(("ask", name))
        if self.gate is not None:
            await self.gate.wait()
        if name not in self.zone:
            raise NullBoxError(ErrorCode.UNAVAILABLE, "no upstream resolver answered")
        return self.zone[name]

    def pin(self, name: str, addresses: tuple[str, ...], seconds: float) -> None:
        if self.pin_error:
            raise self.pin_error
        self.trace.append(("pin", name, addresses, seconds))

    def query(self, name: str = API, qtype: str = "A", *, udp: bool = True) -> dnslib.DNSRecord:
        return asyncio.run(self.aquery(name, qtype, udp=udp))

    async def aquery(self, name: str = API, qtype: str = "A", *, udp: bool = True) -> dnslib.DNSRecord:
        answer = self.resolver.at_once(bytes(dnslib.DNSRecord.question(name, qtype).pack()), udp=udp)
        if isinstance(answer, Query):
            answer = await self.resolver.later(answer, udp=udp)
        assert isinstance(answer, bytes)
        record = dnslib.DNSRecord.parse(answer)
        self.trace.append(("told", tuple(str(rr.rdata) for rr in record.rr)))
        return record


def test_an_address_is_open_before_it_is_told_and_at_least_as_long() -> None:
    world = World(API)
    world.a(API, "45.0.0.1", ttl=60)
    answer = world.query()
    assert world.trace == [("ask", API), ("pin", API, ("45.0.0.1",), 60), ("told", ("45.0.0.1",))]
    assert answer.rr[0].ttl <= 60


def test_a_cached_answer_is_not_asked_again_but_made_sure_of() -> None:
    world = World(API)
    world.a(API, "45.0.0.1", ttl=60)
    world.query()
    world.now += 20.5
    answer = world.query()
    assert world.trace[3:] == [("pin", API, ("45.0.0.1",), 39), ("told", ("45.0.0.1",))]
    assert answer.rr[0].ttl == 39
    world.now += 40
    world.query()
    assert ("ask", API) in world.trace[5:]


def test_the_same_question_again_gets_its_own_id_and_the_time_that_is_left() -> None:
    world = World(API)
    world.a(API, "45.0.0.1", ttl=60)
    world.query()
    told = []
    for number, wait in ((1, 0.0), (2, 0.0), (3, 7.0), (4, 0.5)):
        world.now += wait
        record = dnslib.DNSRecord.question(API)
        record.header.id = number
        answer = world.resolver.at_once(bytes(record.pack()), udp=True)
        assert isinstance(answer, bytes)
        parsed = dnslib.DNSRecord.parse(answer)
        assert parsed.header.id == number
        told.append(parsed.rr[0].ttl)
    assert told == [60, 60, 53, 52]
    pins = sum(event[0] == "pin" for event in world.trace)
    assert pins == 4, "every answer makes sure that the address is open, but for one given a moment ago"


def test_what_cannot_be_opened_any_more_is_not_told_from_memory() -> None:
    world = World(API)
    world.a(API, "45.0.0.1", ttl=60)
    world.query()
    world.query()
    world.pin_error = NullBoxError(ErrorCode.DENIED, "no grant covers it")
    world.now += HOT_S
    assert world.query().header.rcode == Rcode.SERVFAIL


def test_what_cannot_be_opened_is_is_not_told() -> None:
    world = World(API)
    world.a(API, "45.0.0.1")
    world.pin_error = NullBoxError(ErrorCode.INTERNAL, "the kernel refused")
    answer = world.query()
    assert (answer.header.rcode, answer.rr) == (Rcode.SERVFAIL, [])


@pytest.mark.parametrize("qtype", ["A", "TXT", "HTTPS"])
def test_a_name_outside_the_manifest_is_never_forwarded(qtype: str) -> None:
    world = World(API)
    assert world.query("secret-data.evil.org", qtype).header.rcode == Rcode.REFUSED
    assert world.trace == [("told", ())]
    assert world.reports == [("unlisted name", "secret-data.evil.org", "")]


def test_rebinding_is_taken_out_and_reported() -> None:
    world = World(API)
    world.a(API, "169.254.169.254", "45.0.0.1", "127.0.0.1")
    assert [str(rr.rdata) for rr in world.query().rr] == ["45.0.0.1"]
    assert world.reports == [("rebinding", API, "169.254.169.254"), ("rebinding", API, "127.0.0.1")]
    assert world.trace[1][2] == ("45.0.0.1",)


def test_an_answer_of_denied_addresses_alone_is_no_data_and_opens_nothing() -> None:
    world = World(API)
    world.a(API, "168.63.129.16")
    answer = world.query()
    assert (answer.header.rcode, answer.rr) == (Rcode.NOERROR, [])
    assert [event[0] for event in world.trace] == ["ask", "told"]


def test_aliases_are_asked_for_until_they_end() -> None:
    world = World(API)
    world.zone[API] = UpstreamAnswer(0, (Record(API, CNAME, 30, "edge.cdn.net"),))
    world.a("edge.cdn.net", "45.0.0.9", ttl=900)
    answer = world.query()
    assert [(str(rr.rname), str(rr.rdata)) for rr in answer.rr] == [(API + ".", "45.0.0.9")]
    assert answer.rr[0].ttl == 30


def test_aliases_that_never_end_are_a_failure() -> None:
    world = World(API)
    chain = [API, *(f"x{number}.example" for number in range(MAX_HOPS + 5))]
    for one, following in itertools.pairwise(chain):
        world.zone[one] = UpstreamAnswer(0, (Record(one, CNAME, 30, following),))
    assert world.query().header.rcode == Rcode.SERVFAIL
    assert len(world.trace) <= MAX_HOPS + 3


def test_a_name_that_does_not_exist_is_remembered_for_a_moment() -> None:
    world = World(API)
    world.zone[API] = UpstreamAnswer(3, (), False, 600)
    assert world.query().header.rcode == Rcode.NXDOMAIN
    assert world.query().header.rcode == Rcode.NXDOMAIN
    assert world.trace.count(("ask", API)) == 1
    world.now += 31
    world.query()
    assert world.trace.count(("ask", API)) == 2


def test_a_failing_upstream_is_a_failure_and_not_remembered() -> None:
    world = World(API)
    assert world.query().header.rcode == Rcode.SERVFAIL
    world.a(API, "45.0.0.1")
    assert world.query().rr


def test_many_askers_of_one_name_ask_once() -> None:
    world = World(API)
    world.a(API, "45.0.0.1")

    async def race() -> list[dnslib.DNSRecord]:
        world.gate = asyncio.Event()
        askers = [asyncio.ensure_future(world.aquery()) for _ in range(20)]
        while ("ask", API) not in world.trace:
            await asyncio.sleep(0)
        world.gate.set()
        return await asyncio.gather(*askers)

    answers = asyncio.run(race())
    assert world.trace.count(("ask", API)) == 1
    assert all(answer.rr for answer in answers)


def test_a_revoked_grant_is_judged_anew_even_if_cached() -> None:
    world = World(API)
    world.a(API, "45.0.0.1")
    world.query()
    world.resolver.regrant([])
    assert world.query().header.rcode == Rcode.REFUSED


def tunnel(make: Callable[[int], str], count: int) -> World:
    world = World("*.t.example.com")
    for number in range(count):
        world.zone[make(number)] = UpstreamAnswer(3)
        world.query(make(number))
    return world


def test_a_tunnel_by_names_is_throttled() -> None:
    world = tunnel(lambda number: f"{number:040x}.t.example.com", 200)
    carried = sum(40 for event in world.trace if event[0] == "ask")
    assert carried <= 2048
    assert ("rate", f"{199:040x}.t.example.com", "") in world.reports


def test_a_tunnel_by_rate_is_throttled() -> None:
    world = tunnel(lambda number: f"{number:x}.t.example.com", 500)
    assert sum(event[0] == "ask" for event in world.trace) <= 101


def test_learning_asks_for_anything() -> None:
    world = World(learn=True)
    world.a("any.example.net", "45.0.0.7")
    assert world.query("any.example.net").rr


def test_nonsense_gets_a_format_error_or_silence() -> None:
    resolver = World(API).resolver
    assert resolver.at_once(b"\0" * 5, udp=True) is None
    error = resolver.at_once(b"\0" * 12, udp=True)
    assert isinstance(error, bytes)
    assert dnslib.DNSRecord.parse(error).header.rcode == Rcode.FORMERR


@given(
    st.sampled_from([API, "API.example.com", "api.EXAMPLE.com."]),
    st.integers(0, 0xFFFF),
    st.booleans(),
    st.none() | st.integers(0, 0xFFFF),
    st.booleans(),
    st.floats(0, HOT_S - 0.01),
    st.integers(1, 40),
)
def test_an_answer_given_again_is_the_answer_that_would_be_made_anew(
    name: str, identifier: int, recursion: bool, edns: int | None, udp: bool, wait: float, addresses: int
) -> None:
    record = dnslib.DNSRecord(dnslib.DNSHeader(id=identifier, rd=recursion), q=dnslib.DNSQuestion(name))
    if edns is not None:
        record.add_ar(dnslib.EDNS0(udp_len=edns))
    data = bytes(record.pack())
    made = []
    for warm in (b"\0\1", None):
        world = World(API)
        world.a(API, *(f"45.0.0.{number}" for number in range(addresses)), ttl=60)
        world.query()
        if warm is not None:
            assert isinstance(world.resolver.at_once(warm + data[2:], udp=udp), bytes)
            pins = len(world.trace)
            world.now += wait
        made.append(world.resolver.at_once(data, udp=udp))
        if warm is not None:
            assert len(world.trace) == pins, "it was not made anew"
    assert made[0] == made[1]

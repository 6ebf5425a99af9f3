"""The pure parts: judging a question, following an answer, filtering it, and the caps."""

from __future__ import annotations

from ipaddress import IPv4Address

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress.addresses import AddressRules
from nullbox.egress.dns.cache import MAX_ENTRIES, Cache, Entry
from nullbox.egress.dns.chain import MAX_ADDRESSES, MAX_TTL, MIN_TTL, Loop, Walk, follow, tell
from nullbox.egress.dns.decide import MAX_STAR_LABEL, Kind, decide
from nullbox.egress.dns.limits import Bucket, Limits
from nullbox.egress.dns.wire import CNAME, A, Query, Rcode, Record, parse_query
from nullbox.egress.policy import parse_grant

GRANTS = [parse_grant(text) for text in ("api.example.com", "*.cdn.example.com:8443")]


def query(name: str, qtype: str = "A") -> Query:
    return parse_query(dnslib.DNSRecord.question(name, qtype).pack())


@pytest.mark.parametrize(
    "name", ["evil.org", "example.com", "x.api.example.com", "cdn.example.com", "a.b.cdn.example.com"]
)
@pytest.mark.parametrize("qtype", ["A", "AAAA", "TXT", "HTTPS", "ANY", "PTR", "NS"])
def test_a_name_outside_the_manifest_is_refused_whatever_the_type(name: str, qtype: str) -> None:
    verdict = decide(query(name, qtype), GRANTS)
    assert (verdict.kind, verdict.rcode) == (Kind.UNLISTED, Rcode.REFUSED)


@pytest.mark.parametrize("qtype", ["AAAA", "HTTPS", "SVCB", "TXT", "MX", "ANY", "SRV", "CNAME", "NULL", "AXFR"])
def test_a_granted_name_has_addresses_and_nothing_else(qtype: str) -> None:
    verdict = decide(query("API.example.com", qtype), GRANTS)
    assert (verdict.kind, verdict.rcode) == (Kind.NO_DATA, Rcode.NOERROR)


def test_a_granted_name_is_asked() -> None:
    assert decide(query("api.example.com"), GRANTS).kind is Kind.ASK
    starred = decide(query("img7.cdn.example.com"), GRANTS)
    assert (starred.kind, starred.starred) == (Kind.ASK, 4)


def test_a_label_as_long_as_a_tunnel_wants_is_refused() -> None:
    assert decide(query("x" * MAX_STAR_LABEL + ".cdn.example.com"), GRANTS).kind is Kind.ASK
    assert decide(query("x" * (MAX_STAR_LABEL + 1) + ".cdn.example.com"), GRANTS).kind is Kind.LONG_LABEL


def test_other_classes_and_operations_are_not_served() -> None:
    chaos = dnslib.DNSRecord(q=dnslib.DNSQuestion("api.example.com", 1, 3))
    assert decide(parse_query(chaos.pack()), GRANTS).rcode is Rcode.REFUSED
    update = dnslib.DNSRecord(dnslib.DNSHeader(opcode=5), q=dnslib.DNSQuestion("api.example.com"))
    assert decide(parse_query(update.pack()), GRANTS).rcode is Rcode.NOTIMP


def test_a_learning_agent_may_ask_for_any_name() -> None:
    assert decide(query("evil.org"), [], learn=True).kind is Kind.ASK


def a(owner: str, value: str, ttl: int = 60) -> Record:
    return Record(owner, A, ttl, value)


def cname(owner: str, value: str, ttl: int = 60) -> Record:
    return Record(owner, CNAME, ttl, value)


def test_aliases_are_followed_from_the_name_with_the_smallest_ttl() -> None:
    records = [a("c", "45.0.0.1", 90), cname("b", "c", 30), cname("a", "b", 300), a("unrelated", "45.0.0.66")]
    assert follow(Walk("a"), records) == Walk("c", ("45.0.0.1",), 30, 2)


def test_an_unfinished_chain_goes_on_with_the_next_answer() -> None:
    half = follow(Walk("a"), [cname("a", "b", 10)])
    assert half == Walk("b", (), 10, 1)
    assert follow(half, [a("b", "45.0.0.1", 99)]) == Walk("b", ("45.0.0.1",), 10, 1)


@pytest.mark.parametrize("records", [[cname("a", "a")], [cname("a", "b"), cname("b", "a")], [cname("a", "")]])
def test_circles_end(records: list[Record]) -> None:
    with pytest.raises(Loop):
        follow(Walk("a"), records)


names = st.sampled_from("abcde")


@given(
    st.lists(
        st.builds(Record, names, st.just(CNAME), st.integers(0, 99), names) | st.builds(a, names, st.just("45.0.0.1"))
    )
)
def test_following_always_ends(records: list[Record]) -> None:
    try:
        walk = follow(Walk("a"), records)
    except Loop:
        return
    assert walk.addresses in ((), ("45.0.0.1",))


def test_denied_addresses_are_taken_out_and_named() -> None:
    told = tell(Walk("a", ("45.0.0.1", "169.254.169.254", "10.0.0.1"), 60), AddressRules().denied)
    assert told.addresses == ("45.0.0.1",)
    assert [address for address, _ in told.denied] == ["169.254.169.254", "10.0.0.1"]


@pytest.mark.parametrize(("ttl", "told"), [(0, MIN_TTL), (60, 60), (7 * 86400, MAX_TTL), (None, MIN_TTL)])
def test_the_time_that_is_told_has_a_floor_and_a_ceiling(ttl: int | None, told: int) -> None:
    assert tell(Walk("a", ("45.0.0.1",), ttl), lambda address: None).ttl == told


def test_a_hundred_addresses_are_cut() -> None:
    many = tuple(str(IPv4Address(0x2D000000 + number)) for number in range(100))
    assert tell(Walk("a", many, 60), lambda address: None).addresses == many[:MAX_ADDRESSES]


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 20)), max_size=40))
def test_a_bucket_never_gives_more_than_burst_and_rate(steps: list[tuple[float, float]]) -> None:
    bucket, now, given_out = Bucket(2, 10), 0.0, 0.0
    for wait, amount in steps:
        now += wait
        if bucket.take(amount, now):
            given_out += amount
    assert given_out <= 10 + 2 * now + 1e-6


def test_questions_and_octets_are_capped() -> None:
    limits = Limits()
    assert all(limits.forward(0, 0.0) is None for _ in range(100))
    assert "uncached names" in (limits.forward(0, 0.0) or "")
    limits = Limits()
    sent = sum(limits.forward(40, 0.0) is None for _ in range(100))
    assert sent * 40 <= 2048
    assert "octets" in (limits.forward(40, 0.5) or "")


def test_a_cache_forgets_what_is_over_and_what_is_too_much() -> None:
    cache = Cache()
    cache.put("a", Entry(Rcode.NOERROR, ("45.0.0.1",), 10.0))
    assert cache.get("a", 9.9) is not None
    assert cache.get("a", 10.0) is None
    for number in range(MAX_ENTRIES + 5):
        cache.put(str(number), Entry(Rcode.NOERROR, (), 10.0))
    assert len(cache.entries) == MAX_ENTRIES

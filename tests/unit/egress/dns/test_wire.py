from __future__ import annotations

import dnslib
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress.dns.wire import (
    CNAME,
    EDNS_SIZE,
    A,
    Malformed,
    Rcode,
    Record,
    error_to,
    pack,
    parse_query,
    parse_upstream,
    question,
    reply,
)


def ask(name: str = "api.example.com", qtype: str = "A") -> bytes:
    return bytes(dnslib.DNSRecord.question(name, qtype).pack())


def answer_to(data: bytes, *rrs: dnslib.RR, rcode: int = 0) -> bytes:
    record = dnslib.DNSRecord.parse(data).reply()
    record.header.rcode = rcode
    record.add_answer(*rrs)
    return bytes(record.pack())


def test_a_question() -> None:
    query = parse_query(ask("API.Example.com", "AAAA"))
    assert (query.name, query.qtype, query.qclass, query.opcode, query.limit) == ("api.example.com", 28, 1, 0, 512)


def test_the_answer_repeats_the_question_as_it_was_spelt() -> None:
    answer = dnslib.DNSRecord.parse(
        pack(reply(parse_query(ask("aPi.eXample.cOm")), Rcode.NOERROR, ("45.0.0.1",), 60), 512)
    )
    assert answer.questions[0].qname.label == (b"aPi", b"eXample", b"cOm")
    assert (str(answer.rr[0].rdata), answer.rr[0].ttl, answer.header.ra) == ("45.0.0.1", 60, 1)


def test_an_answer_that_does_not_fit_is_cut_and_marked() -> None:
    query = parse_query(ask())
    many = tuple(f"45.0.{number}.1" for number in range(60))
    cut = dnslib.DNSRecord.parse(pack(reply(query, Rcode.NOERROR, many, 60), query.limit))
    assert (cut.header.tc, cut.rr) == (1, [])
    assert len(dnslib.DNSRecord.parse(pack(reply(query, Rcode.NOERROR, many, 60), None)).rr) == 60


@pytest.mark.parametrize(("announced", "limit"), [(100, 512), (1000, 1000), (4096, EDNS_SIZE)])
def test_the_asker_says_how_much_it_takes(announced: int, limit: int) -> None:
    record = dnslib.DNSRecord.question("a.example")
    record.add_ar(dnslib.EDNS0(udp_len=announced))
    query = parse_query(record.pack())
    assert query.limit == limit
    assert dnslib.DNSRecord.parse(pack(reply(query, Rcode.REFUSED), 512)).ar[0].rtype == dnslib.QTYPE.OPT


@pytest.mark.parametrize("label", [b"api.example", b"a b", b"a\0b", b"*", "ü".encode(), b"a/b"])
def test_a_label_that_text_cannot_stand_for_is_no_name(label: bytes) -> None:
    raw = ask("x.com").replace(b"\x01x", bytes([len(label)]) + label)
    assert parse_query(raw).name == ""


@pytest.mark.parametrize(
    "data",
    [b"", b"\0" * 11, b"\0" * 12, answer_to(ask()), ask() * 2 + b"\0" * 500, ask()[:-3], ask()[:5] + b"\2" + ask()[6:]],
    ids=["nothing", "short", "no question", "an answer", "too long", "cut", "two questions"],
)
def test_what_is_no_question(data: bytes) -> None:
    with pytest.raises(Malformed):
        parse_query(data)


def test_a_question_that_carries_records_is_none() -> None:
    record = dnslib.DNSRecord.question("a.example")
    record.add_answer(dnslib.RR("a.example", A, 1, 1, dnslib.A("1.2.3.4")))
    with pytest.raises(Malformed):
        parse_query(record.pack())


def test_errors_answer_questions_only() -> None:
    assert error_to(answer_to(ask()), Rcode.FORMERR) is None, "two servers would answer each other's errors for ever"
    assert error_to(b"short", Rcode.FORMERR) is None
    error = error_to(ask(), Rcode.FORMERR)
    assert error is not None
    assert dnslib.DNSRecord.parse(error).header.rcode == Rcode.FORMERR


@given(st.binary(max_size=600))
def test_any_bytes_are_a_question_or_malformed(data: bytes) -> None:
    try:
        query = parse_query(data)
    except Malformed:
        error_to(data, Rcode.FORMERR)
    else:
        pack(reply(query, Rcode.REFUSED), query.limit)


@given(st.binary(max_size=600))
def test_any_bytes_from_upstream_are_an_answer_or_nothing(data: bytes) -> None:
    parse_upstream(data, 1, "a.example")
    parse_upstream(b"\0\1\x80\0" + data, 1, "a.example")


def test_an_answer_from_upstream() -> None:
    rrs = dnslib.RR.fromZone("a.example. 60 CNAME B.example.\nb.example. 30 A 45.0.0.1\nb.example. 30 TXT x")
    answer = parse_upstream(answer_to(question(7, "a.example"), *rrs), 7, "a.example")
    assert answer is not None
    assert answer.records == (Record("a.example", CNAME, 60, "b.example"), Record("b.example", A, 30, "45.0.0.1"))


@pytest.mark.parametrize(
    "data",
    [
        answer_to(question(8, "a.example")),
        answer_to(question(7, "b.example")),
        answer_to(question(7, "a.example.evil.org")),
        question(7, "a.example"),
        answer_to(ask("a.example", "AAAA")),
        b"",
    ],
    ids=["other id", "other name", "longer name", "not an answer", "other type and id", "nothing"],
)
def test_answers_that_do_not_fit_the_question_are_ignored(data: bytes) -> None:
    assert parse_upstream(data, 7, "a.example") is None


def test_a_negative_answer_says_how_long_it_holds() -> None:
    record = dnslib.DNSRecord.parse(question(7, "a.example")).reply()
    record.header.rcode = 3
    record.add_auth(*dnslib.RR.fromZone("example. 100 SOA ns. host. 1 2 3 4 20"))
    answer = parse_upstream(record.pack(), 7, "a.example")
    assert answer is not None
    assert (answer.rcode, answer.negative_ttl) == (3, 20)


def test_a_ttl_with_its_top_bit_set_is_zero() -> None:
    record = dnslib.RR("a.example", A, 1, 0xFFFF_FFFF, dnslib.A("45.0.0.1"))
    answer = parse_upstream(answer_to(question(7, "a.example"), record), 7, "a.example")
    assert answer is not None
    assert answer.records[0].ttl == 0

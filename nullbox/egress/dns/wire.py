"""DNS messages as values, over dnslib. Pure. Nothing else in NullBox sees a byte of DNS.

Sources: RFC 1035 (messages), RFC 6891 (EDNS), RFC 2181, 5.4.1 (what to believe).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import dnslib  # type: ignore[import-untyped,unused-ignore]

A, CNAME, SOA, AAAA, SVCB, HTTPS = 1, 5, 6, 28, 64, 65
CLASS_IN = 1
EDNS_SIZE = 1232
"""Largest UDP answer that no ordinary path fragments (https://dnsflagday.net/2020)."""
CLASSIC_SIZE = 512
MAX_QUERY = 512
"""A question with one name of 255 octets and EDNS options is far shorter."""


def load() -> None:
    """Load dnslib now: in the image it is put off until it is asked for something."""
    _ = dnslib.DNSRecord


class Rcode(IntEnum):
    """RFC 1035, 4.1.1."""

    NOERROR = 0
    FORMERR = 1
    SERVFAIL = 2
    NXDOMAIN = 3
    NOTIMP = 4
    REFUSED = 5


class Malformed(Exception):
    """Not a DNS message that can be answered."""


@dataclass(frozen=True, slots=True)
class Query:
    """One question as an agent asked it.

    name: lower case, without the final dot; empty if a label holds anything but letters, digits, `-` and `_`.
    limit: the longest UDP answer that the asker takes, in octets.
    """

    id: int
    name: str
    qtype: int
    qclass: int
    opcode: int
    limit: int
    record: Any


@dataclass(frozen=True, slots=True)
class Record:
    """One resource record of an answer that matters here: an address or an alias."""

    owner: str
    rtype: int
    ttl: int
    value: str


@dataclass(frozen=True, slots=True)
class UpstreamAnswer:
    """What a resolver upstream said.

    negative_ttl: how long a negative answer holds (RFC 2308, 5), in seconds; None if it does not say.
    """

    rcode: int
    records: tuple[Record, ...] = ()
    truncated: bool = False
    negative_ttl: int | None = None


def _text(label: dnslib.DNSLabel) -> str:
    """A name as text, or empty if text could not stand for it without doubt (a dot inside a label, say)."""
    parts = []
    for part in label.label:
        text = part.decode("latin-1").lower()
        if not text.isascii() or not all(char.isalnum() or char in "-_" for char in text):
            return ""
        parts.append(text)
    return ".".join(parts)


def parse_query(data: bytes) -> Query:
    """Read an agent's question.

    Raises:
        Malformed: it is no question, or not exactly one.
    """
    if len(data) > MAX_QUERY:
        raise Malformed(f"{len(data)} octets are more than any question needs")
    try:
        record = dnslib.DNSRecord.parse(data)
    except Exception as error:  # dnslib raises its own errors, struct's, and ValueError
        raise Malformed(str(error)) from error
    if record.header.qr or len(record.questions) != 1 or record.rr or record.auth:
        raise Malformed("not a question")
    limit = CLASSIC_SIZE
    for extra in record.ar:
        if extra.rtype == dnslib.QTYPE.OPT:
            limit = max(CLASSIC_SIZE, min(extra.rclass, EDNS_SIZE))
    question = record.questions[0]
    return Query(
        record.header.id, _text(question.qname), question.qtype, question.qclass, record.header.opcode, limit, record
    )


def error_to(data: bytes, rcode: Rcode) -> bytes | None:
    """The answer to a message that could not be read; None if it is itself an answer, or has no header."""
    if len(data) < 12 or data[2] & 0x80:
        return None
    return data[:2] + bytes([0x80 | data[2] & 0x79, 0x80 | rcode]) + b"\0" * 8


def reply(query: Query, rcode: Rcode, addresses: tuple[str, ...] = (), ttl: int = 0) -> dnslib.DNSRecord:
    """The answer to `query`: the addresses as A records of the name that was asked for."""
    answer = query.record.reply(ra=1, aa=0)
    answer.header.rcode = int(rcode)
    qname = query.record.questions[0].qname
    for address in addresses:
        answer.add_answer(dnslib.RR(qname, A, CLASS_IN, ttl, dnslib.A(address)))
    if any(extra.rtype == dnslib.QTYPE.OPT for extra in query.record.ar):
        answer.add_ar(dnslib.EDNS0(udp_len=EDNS_SIZE))
    return answer


def pack(answer: dnslib.DNSRecord, limit: int | None) -> bytes:
    """The octets of an answer; over UDP, one that is longer than `limit` is cut and marked (RFC 2181, 9)."""
    data = bytes(answer.pack())
    if limit is None or len(data) <= limit:
        return data
    answer.rr = []
    answer.header.tc = 1
    return bytes(answer.pack())


def question(identifier: int, name: str) -> bytes:
    """A question upstream for the A records of `name`, with EDNS."""
    record = dnslib.DNSRecord(dnslib.DNSHeader(id=identifier, rd=1), q=dnslib.DNSQuestion(name, A, CLASS_IN))
    record.add_ar(dnslib.EDNS0(udp_len=EDNS_SIZE))
    return bytes(record.pack())


def parse_upstream(data: bytes, identifier: int, name: str) -> UpstreamAnswer | None:
    """Read an answer from upstream; None if it is not the answer to this very question (poisoned, late, broken).

    Only the answer section counts, and of it only addresses and aliases.
    """
    try:
        record = dnslib.DNSRecord.parse(data)
        header = record.header
        if header.id != identifier or not header.qr or header.opcode != 0 or len(record.questions) != 1:
            return None
        asked = record.questions[0]
        if asked.qtype != A or asked.qclass != CLASS_IN or _text(asked.qname) != name:
            return None
        records = tuple(_record(rr) for rr in record.rr if rr.rtype in (A, CNAME) and rr.rclass == CLASS_IN)
        negative = [min(rr.ttl, rr.rdata.times[4]) for rr in record.auth if rr.rtype == SOA]
    except Exception:
        return None
    return UpstreamAnswer(header.rcode, records, bool(header.tc), negative[0] if negative else None)


def _record(rr: dnslib.RR) -> Record:
    value = _text(rr.rdata.label) if rr.rtype == CNAME else str(rr.rdata)
    # RFC 2181, 8: a TTL with its top bit set counts as zero.
    return Record(_text(rr.rname), rr.rtype, rr.ttl if rr.ttl < 2**31 else 0, value)

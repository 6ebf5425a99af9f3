"""The codec: what is encoded comes back equal, and what is wrong raises CodecError and nothing else."""

from __future__ import annotations

import contextlib
import dataclasses
import time
import tracemalloc
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import message_strategies
import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import sized

from nullbox.protocols import codec
from nullbox.protocols.codec import Codec, CodecError
from nullbox.protocols.errors import ErrorCode
from nullbox.protocols.messages import (
    REGISTRY,
    Address,
    CrashReport,
    Failure,
    Peers,
    Phase,
    Ping,
    Query,
    Reply,
    Start,
)

SAMPLE = Start(
    "cage:pulse", 3, {"a": [1, 2.5, None, b"x", {"b": Address("actor.1.1")}]}, {"egress": Address("actor.2.1")}
)


def packet(*flat: Any) -> bytes:
    return b"\x01" + msgpack.packb(list(flat))


@pytest.mark.parametrize("cls", REGISTRY.values(), ids=REGISTRY.keys())
def test_decode_undoes_encode(cls: type) -> None:
    @settings(max_examples=sized(60))
    @given(message_strategies.of_class(cls))
    def check(message: Any) -> None:
        assert codec.decode(codec.encode(message)) == message

    check()


def test_a_message_inside_a_message_comes_back_as_one() -> None:
    inner = Phase("a", 1, "running", {"since": 5})
    assert codec.decode(codec.encode(Reply(1, [inner, {"x": inner}]))) == Reply(1, [inner, {"x": inner}])


def test_an_enum_of_strings_travels_as_its_value() -> None:
    answer = codec.decode(codec.encode(Failure(1, ErrorCode.NOT_FOUND, "no")))
    assert answer == Failure(1, "not_found", "no")
    assert type(answer.code) is str


def test_what_is_decoded_shares_nothing_with_what_was_encoded() -> None:
    value = {"list": [1]}
    copy = codec.decode(codec.encode(Reply(1, value)))
    value["list"].append(2)
    assert copy.value == {"list": [1]}


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Stranger:
    x: int = 0


@pytest.mark.parametrize(
    "message",
    [
        Ping("1"),  # type: ignore[arg-type]
        Ping(True),
        Ping(None),  # type: ignore[arg-type]
        Ping(2**64),
        Ping(-(2**63) - 1),
        Reply(1, (1, 2)),
        Reply(1, {1, 2}),
        Reply(1, {1: 2}),
        Reply(1, object()),
        Reply(1, Stranger()),
        Reply(1, "\ud800"),
        Reply(1, Address("")),
        Reply(1, Address("ä")),
        Reply(1, Address("x" * 65)),
        Peers({"a": "b"}),  # type: ignore[dict-item]
        CrashReport("a", 1, "", "", "", ["a", 1]),  # type: ignore[list-item]
        Stranger(),
        "text",
        None,
        Ping,
        Reply(1, [0] * (codec.MAX_ITEMS + 1)),
    ],
    ids=lambda message: repr(message)[:40],
)
def test_what_is_no_message_cannot_be_encoded(message: Any) -> None:
    with pytest.raises(CodecError):
        codec.encode(message)
    assert codec.decode(codec.encode(Ping(1))) == Ping(1)  # the packer is usable again


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "0 bytes"),
        (b"\x01", "1 bytes"),
        (b"\x02\x90", "version 2"),
        (b"\x01\xc1", "not msgpack"),
        (packet(), "begins with its tag"),
        (packet(1), "begins with its tag"),
        (b"\x01" + msgpack.packb({"Ping": 1}), "begins with its tag"),
        (packet("Nope"), "unknown message 'Nope'"),
        (packet("Ping"), "has 1 fields, not 0"),
        (packet("Ping", 1, 2), "has 1 fields, not 2"),
        (packet("Ping", "1"), "Ping.seq must be int"),
        (packet("Ping", True), "Ping.seq must be int"),
        (packet("Ping", 1) + b"\x00", "not msgpack"),
        (packet("Ping", 1)[:-1], "not msgpack"),
        (packet("Reply", 1, msgpack.ExtType(9, b"")), "extension type 9"),
        (packet("Reply", 1, msgpack.Timestamp(1)), "plain data"),
        (packet("Reply", 1, msgpack.ExtType(1, b"")), "names no mailbox"),
        (packet("Reply", 1, msgpack.ExtType(1, b"x" * 65)), "names no mailbox"),
        (packet("Reply", 1, msgpack.ExtType(1, b"\xff")), "not ASCII"),
        (packet("Reply", 1, msgpack.ExtType(2, b"\x90")), "begins with its tag"),
        (packet("Peers", {"a": 1}), "Peers.peers must be Address"),
        (b"\x01\x93\xa5Reply\x01\x81\x01\x02", "not msgpack"),  # a key that is no string
        (b"\x01\x92\xa4Ping\xa1\xff", "not msgpack"),  # a string that is not UTF-8
    ],
)
def test_malformed_input_raises_the_one_documented_error(data: bytes, says: str) -> None:
    with pytest.raises(CodecError, match=says):
        codec.decode(data)


def test_wrongly_typed_fields_are_named_with_what_would_be_right() -> None:
    with pytest.raises(CodecError, match=r"Start\.incarnation must be int, not str 'one'"):
        codec.encode(dataclasses.replace(SAMPLE, incarnation="one"))  # type: ignore[arg-type]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


def test_depth_has_a_limit_both_ways() -> None:
    assert codec.decode(codec.encode(Reply(1, nested(codec.MAX_DEPTH)))).value == nested(codec.MAX_DEPTH)
    with pytest.raises(CodecError, match="deep"):
        codec.encode(Reply(1, nested(codec.MAX_DEPTH + 1)))
    for depth in (codec.MAX_DEPTH + 1, 500, 600, 100_000):
        raw = b"\x01\x93\xa5Reply\x01" + b"\x91" * depth + b"\x01"
        with pytest.raises(CodecError):
            codec.decode(raw)


def test_messages_in_messages_have_the_same_limit() -> None:
    value: Any = 1
    for _ in range(codec.MAX_DEPTH + 1):  # one message, and 32 inside
        value = Reply(1, value)
    assert codec.decode(codec.encode(value)) == value
    with pytest.raises(CodecError, match="deep"):
        codec.encode(Reply(1, value))
    raw = msgpack.packb(["Ping", 1])
    for _ in range(200):
        raw = msgpack.packb(["Reply", 1, msgpack.ExtType(2, raw)])
    with pytest.raises(CodecError, match="deep"):
        codec.decode(b"\x01" + raw)


def test_size_has_a_limit() -> None:
    big = b"x" * (codec.MAX_BYTES - 100)
    assert codec.decode(codec.encode(Reply(1, big))).value == big
    with pytest.raises(CodecError, match="the limit is"):
        codec.encode(Reply(1, b"x" * codec.MAX_BYTES))
    with pytest.raises(CodecError, match="allowed"):
        codec.decode(b"\x01" * (codec.MAX_BYTES + 1))


@pytest.mark.parametrize(
    "raw",
    [
        b"\x01" + b"\xdd\x00\x00\x0f\xff" * 512,  # headers that promise 4095 items, 512 deep
        b"\x01" + b"\xdd\xff\xff\xff\xff",
        b"\x01" + b"\xdf\xff\xff\xff\xff",
        b"\x01\x93\xa5Reply\x01" + b"\xdc\x10\x00" + b"\x90" * 4096,
        b"\x01\x93\xa5Reply\x01" + b"\xdc\x10\x00" + (b"\xdc\x10\x00" + b"\x90" * 4096) * 4096,  # 16 million lists
        b"\x01" + b"\xc6\xff\xff\xff\xff",
    ],
    ids=["nested headers", "array", "map", "lists", "lists of lists", "binary"],
)
def test_what_malicious_headers_cost_is_bounded(raw: bytes) -> None:
    tracemalloc.start()
    began = time.monotonic()
    with contextlib.suppress(CodecError):
        codec.decode(raw)
    seconds = time.monotonic() - began
    _now, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 150 * 1024 * 1024
    assert seconds < 10


@settings(max_examples=sized(300))
@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for each in (data, b"\x01" + data):
        with contextlib.suppress(CodecError):
            codec.decode(each)


@settings(max_examples=sized(200))
@given(message_strategies.any_message(), st.data())
def test_what_does_decode_encodes_again(message: Any, data: st.DataObject) -> None:
    """A mutated packet is refused, or is a message as good as any other."""
    raw = bytearray(codec.encode(message))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = codec.decode(bytes(raw))
    except CodecError:
        return
    assert type(found) in REGISTRY.values()
    codec.encode(found)


def test_annotations_that_no_message_can_have_are_a_programming_error() -> None:
    @dataclass(frozen=True)
    class Odd:
        x: set[int]

    odd = Codec({"Odd": Odd})
    with pytest.raises((TypeError, CodecError), match="set"):
        odd.encode(Odd({1}))


def test_every_registered_message_has_fields_that_the_codec_knows() -> None:
    for cls in REGISTRY.values():
        message_strategies.of_class(cls)
        codec._MESSAGES._plan(cls)


def test_queries_of_every_day_are_small() -> None:
    assert len(codec.encode(Query(1, "status", {}))) < 24

"""Fragments: whatever is split comes together again, and nothing else does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import sized

from nullbox.actors.transport import packet
from nullbox.actors.transport.packet import FRAGMENT, MAX_MESSAGE, MORE, Assembler, Kind, PacketError


@pytest.mark.parametrize("size", [0, 1, FRAGMENT - 1, FRAGMENT, FRAGMENT + 1, 3 * FRAGMENT, 3 * FRAGMENT + 1])
def test_what_is_split_comes_together_again(size: int) -> None:
    body = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    packets = packet.split(Kind.MESSAGE, body)
    assert all(len(each) <= packet.MAX_PACKET for each in packets)
    assembler = Assembler()
    results = [assembler.feed(memoryview(each)) for each in packets]
    assert results[:-1] == [None] * (len(packets) - 1)
    assert results[-1] is not None
    kind, whole = results[-1]
    assert (kind, bytes(whole)) == (Kind.MESSAGE, body)
    assert assembler.size == 0


def test_the_largest_message_passes_and_a_larger_one_does_not() -> None:
    assembler = Assembler()
    for each in packet.split(Kind.MESSAGE, bytes(MAX_MESSAGE)):
        whole = assembler.feed(memoryview(each))
    assert whole is not None
    assert len(whole[1]) == MAX_MESSAGE
    with pytest.raises(PacketError, match="more than"):
        for each in packet.split(Kind.MESSAGE, bytes(MAX_MESSAGE + 1)):
            assembler.feed(memoryview(each))


def test_fragments_of_two_messages_do_not_mix() -> None:
    assembler = Assembler()
    assembler.feed(memoryview(bytes([Kind.MESSAGE | MORE]) + b"a"))
    with pytest.raises(PacketError, match="mixed"):
        assembler.feed(memoryview(bytes([Kind.SYSTEM]) + b"b"))


@pytest.mark.parametrize("first", [0, Kind.HELLO, 4, 0x7F, 0x80, 0xFF])
def test_unknown_kinds_are_refused(first: int) -> None:
    with pytest.raises(PacketError, match="unknown kind"):
        Assembler().feed(memoryview(bytes([first, 1])))


def test_a_greeting_names_the_sender() -> None:
    assert packet.parse_hello(packet.hello("actor.12.1")) == "actor.12.1"


@pytest.mark.parametrize("data", [b"", b"\x01", b"\x01\x01", b"\x02\x01abc", b"\x01\x02abc", b"\x01\x01\xff"])
def test_what_is_no_greeting_is_refused(data: bytes) -> None:
    with pytest.raises(PacketError):
        packet.parse_hello(data)


@settings(max_examples=sized(200))
@given(st.lists(st.binary(min_size=1, max_size=20), max_size=20))
def test_no_packets_raise_anything_else(packets: list[bytes]) -> None:
    assembler = Assembler()
    for each in packets:
        try:
            assembler.feed(memoryview(each))
        except PacketError:
            assembler = Assembler()

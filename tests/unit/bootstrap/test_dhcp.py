"""The DHCP client against good servers, bad ones and noise: as a function, so in microseconds."""

from __future__ import annotations

import struct
from ipaddress import IPv4Address
from typing import Any

import dhcp_server
from dhcp_server import ADDRESS, SERVER_IP, USUAL, in_ip, wire
from hypothesis import given, settings
from hypothesis import strategies as st
from sizes import sized
from test_lease import assert_harmless

from nullbox.bootstrap import dhcp
from nullbox.bootstrap.dhcp import ACK, DISCOVER, MASK, NAK, OFFER, REQUEST, ROUTER, SECONDS, SERVER, TYPE

MAC = b"\x52\x54\x00\x12\x34\x56"
XID = 0xDEADBEEF


def from_server(kind: int, *, xid: int = XID, mac: bytes = MAC, **more: Any) -> bytes:
    return dhcp_server.from_server(kind, xid=xid, mac=mac, **more)


def kind_of(out: bytes | None) -> int:
    """The type of a message that the client sends; the packet around it has to be sound."""
    assert out is not None
    assert dhcp.checksum(out[:20]) == 0
    assert struct.unpack_from("!HH", out, 20) == (68, 67)
    body = out[28:]
    assert body[:3] == b"\x01\x01\x06"
    options = body[dhcp.FIXED.size :]
    assert options[:2] == bytes([TYPE, 1])
    return options[2]


def test_discover_offer_request_ack() -> None:
    state, out = dhcp.begin(XID, MAC, 0.0)
    assert kind_of(out) == DISCOVER
    state, out = dhcp.received(state, from_server(OFFER), 0.1)
    assert kind_of(out) == REQUEST
    assert out is not None and ADDRESS.packed in out and bytes([SERVER, 4]) + SERVER_IP.packed in out
    state, out = dhcp.received(state, from_server(ACK), 0.2)
    assert out is None
    lease = state.lease
    assert lease is not None
    assert (str(lease.address), lease.prefix, str(lease.router), lease.seconds) == ("192.0.2.7", 24, "192.0.2.1", 3600)


def test_an_address_is_kept_without_looking_for_servers() -> None:
    state, out = dhcp.begin(XID, MAC, 0.0, ADDRESS)
    assert kind_of(out) == REQUEST
    state, _ = dhcp.received(state, from_server(ACK), 0.1)
    assert state.lease is not None


def test_an_address_that_is_refused_is_let_go() -> None:
    state, _ = dhcp.begin(XID, MAC, 0.0, ADDRESS)
    state, out = dhcp.received(state, from_server(NAK), 0.1)
    assert kind_of(out) == DISCOVER


def test_silence_is_answered_by_asking_again_and_then_by_giving_up() -> None:
    state, _ = dhcp.begin(XID, MAC, 0.0)
    sent, now = 1, 0.0
    while not state.failed:
        assert state.deadline > now
        now = state.deadline
        state, out = dhcp.timed_out(state, now)
        sent += out is not None
    assert sent == len(dhcp.WAITS)
    assert now == sum(dhcp.WAITS)
    assert state.failed == "no server answered"


def test_another_ones_messages_change_nothing() -> None:
    state, _ = dhcp.begin(XID, MAC, 0.0)
    for packet in (
        from_server(OFFER, xid=XID + 1),
        from_server(OFFER, mac=b"\x52\x54\x00\x00\x00\x01"),
        from_server(ACK),
        from_server(NAK),
        from_server(99),
        in_ip(b"x" * 300),
        in_ip(from_server(OFFER)[28:], source=68),
        in_ip(from_server(OFFER)[28:], target=67),
    ):
        assert dhcp.received(state, packet, 0.1) == (state, None)


def test_an_ack_by_another_server_or_of_another_address_is_refused() -> None:
    state, _ = dhcp.begin(XID, MAC, 0.0)
    state, _ = dhcp.received(state, from_server(OFFER), 0.1)
    for packet in (
        from_server(ACK, yours=IPv4Address("192.0.2.9")),
        from_server(ACK, options={SERVER: IPv4Address("192.0.2.66").packed}),
    ):
        after, out = dhcp.received(state, packet, 0.2)
        assert after.lease is None
        assert out is None


def test_a_nak_by_another_server_does_not_take_the_address_away() -> None:
    state, _ = dhcp.begin(XID, MAC, 0.0)
    state, _ = dhcp.received(state, from_server(OFFER), 0.1)
    other = from_server(NAK, options={SERVER: IPv4Address("192.0.2.66").packed})
    assert dhcp.received(state, other, 0.2) == (state, None)


def test_an_offer_that_makes_no_sense_is_passed_over_for_the_next() -> None:
    state, _ = dhcp.begin(XID, MAC, 0.0)
    for options in (
        {MASK: None},
        {MASK: b"\xff\x00\xff\x00"},
        {MASK: b"\x00\x00\x00\xff"},
        {ROUTER: IPv4Address("203.0.113.1").packed},
        {SECONDS: b"\0\0\0\1"},
        {SECONDS: b"\0"},
        {SERVER: None},
        {SERVER: b"abc"},
    ):
        state, out = dhcp.received(state, from_server(OFFER, options=options), 0.1)
        assert out is None, options
    assert state.refused
    assert len(state.refused) <= 4
    state, out = dhcp.received(state, from_server(OFFER), 0.2)
    assert kind_of(out) == REQUEST


def test_routes_names_and_the_rest_are_not_even_read() -> None:
    state, _ = dhcp.begin(XID, MAC, 0.0, ADDRESS)
    evil = {121: b"\x00" + SERVER_IP.packed, 12: b"x; reboot", 26: b"\x00\x01", 67: b"/etc/passwd", 249: b"\x00\x01"}
    state, _ = dhcp.received(state, from_server(ACK, options=evil), 0.1)
    plain, _ = dhcp.received(dhcp.begin(XID, MAC, 0.0, ADDRESS)[0], from_server(ACK), 0.1)
    assert state.lease == plain.lease


def test_an_option_in_pieces_is_joined() -> None:
    """RFC 3396."""
    head = from_server(ACK)[28 : 28 + dhcp.FIXED.size]
    pieces = bytes([MASK, 2]) + b"\xff\xff" + bytes([MASK, 2]) + b"\xff\x00"
    rest = wire({TYPE: bytes([ACK]), **{n: v for n, v in USUAL.items() if n != MASK}})
    message = dhcp.decode(head + pieces + rest)
    assert message is not None
    assert dhcp.lease_of(message).prefix == 24


def test_servers_that_give_and_take_do_not_keep_us_talking() -> None:
    state, out = dhcp.begin(XID, MAC, 0.0)
    sent = 1
    for _ in range(200):
        state, out = dhcp.received(state, from_server(OFFER), 0.1)
        sent += out is not None
        state, out = dhcp.received(state, from_server(NAK), 0.1)
        sent += out is not None
    assert sent == dhcp.MOST_SENT
    assert state.failed


NUMBERS = st.integers(0, 255)
OPTIONS = st.dictionaries(NUMBERS, st.binary(max_size=20), max_size=8)


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """A packet that is almost right: what a server of bad will sends."""
    options = {**USUAL, **draw(OPTIONS)}
    packet = bytearray(
        from_server(
            draw(st.sampled_from([OFFER, ACK, NAK, 0, 255])),
            yours=IPv4Address(draw(st.integers(0, 2**32 - 1))),
            options={**options, TYPE: bytes([draw(st.sampled_from([OFFER, ACK, NAK]))])},
        )
    )
    for _ in range(draw(st.integers(0, 3))):
        packet[draw(st.integers(0, len(packet) - 1))] = draw(NUMBERS)
    return bytes(packet[: draw(st.integers(0, len(packet)))]) if draw(st.booleans()) else bytes(packet)


EXAMPLES = sized(100, full=2000)


@settings(max_examples=EXAMPLES)
@given(st.lists(st.tuples(st.floats(0, 20), hostile() | st.binary(max_size=700)), max_size=12), st.booleans())
def test_whatever_comes_there_is_a_usable_lease_or_none(steps: list[tuple[float, bytes]], again: bool) -> None:
    now, sent = 0.0, 1
    state, _ = dhcp.begin(XID, MAC, now, ADDRESS if again else None)
    for gap, packet in steps:
        now += gap
        state, out = dhcp.received(state, packet, now)
        sent += out is not None
        state, out = dhcp.timed_out(state, now)
        sent += out is not None
        assert all(len(each) < 300 for each in state.refused)
    if state.lease is not None:
        assert_harmless(state.lease)
    assert sent <= dhcp.MOST_SENT


@settings(max_examples=EXAMPLES)
@given(st.binary(max_size=1600))
def test_noise_is_no_message(data: bytes) -> None:
    dhcp.decode(data)
    dhcp.payload(data)

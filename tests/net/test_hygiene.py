"""Frames that lie: about their source, their kind, their options. Each with a twin that shows them arriving."""

from __future__ import annotations

import struct
from collections.abc import Callable

import netlab
import pytest
from netlab import WEB, Lab, arp, ethernet, ipv4, mac, udp_datagram

from nullbox.egress.policy import parse_policy
from nullbox.egress.slots import Slot

ONE, OTHER = Slot(0), Slot(1)
ME = mac(ONE.mac)
PAYLOAD = b"NULLBOX-ATTACK"
BROADCAST = b"\xff" * 6

Frame = Callable[[bytes], bytes]
"""Makes a frame from the MAC address of the host's end of the link."""


def packet(
    gateway: bytes, *, source: str = ONE.guest, target: str = WEB, source_mac: bytes = ME, **more: object
) -> bytes:
    content = udp_datagram(40000, 53, PAYLOAD)
    return ethernet(gateway, source_mac, ipv4(source, target, content, **more))  # type: ignore[arg-type]


def ipv6(gateway: bytes, target: str) -> bytes:
    content = struct.pack("!HHHH", 40000, 53, 8 + len(PAYLOAD), 0) + PAYLOAD
    head = struct.pack("!IHBB", 6 << 28, len(content), 17, 64)
    addresses = netlab.socket.inet_pton(netlab.socket.AF_INET6, "fe80::2")
    addresses += netlab.socket.inet_pton(netlab.socket.AF_INET6, target)
    return ethernet(gateway, ME, head + addresses + content, 0x86DD)


def echo() -> bytes:
    """An ICMP echo request that carries the payload (RFC 792)."""
    head = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    return head[:2] + struct.pack("!H", netlab.checksum(head + PAYLOAD)) + head[4:] + PAYLOAD


LIES: dict[str, Frame] = {
    "another agent's address": lambda gw: packet(gw, source=OTHER.guest),
    "an address of the host": lambda gw: packet(gw, source=netlab.HOST_OUTSIDE),
    "an address outside": lambda gw: packet(gw, source=netlab.WEB2),
    "another MAC": lambda gw: packet(gw, source_mac=mac(OTHER.mac)),
    "both of another agent": lambda gw: packet(gw, source=OTHER.guest, source_mac=mac(OTHER.mac)),
    "a record-route option": lambda gw: packet(gw, options=b"\x07\x07\x04\0\0\0\0\0"),
    "a timestamp option": lambda gw: packet(gw, options=b"\x44\x08\x05\0\0\0\0\0"),
    "an icmp echo with a message": lambda gw: ethernet(gw, ME, ipv4(ONE.guest, WEB, echo(), 1)),
    "a gre packet": lambda gw: ethernet(gw, ME, ipv4(ONE.guest, WEB, b"\0\0\x08\0" + PAYLOAD, 47)),
    "an unknown protocol": lambda gw: ethernet(gw, ME, ipv4(ONE.guest, WEB, PAYLOAD, 253)),
    "a packet to the other agent": lambda gw: packet(gw, target=OTHER.guest),
    "a lone first fragment": lambda gw: packet(gw, frag=0x2000),
}  # fmt: skip


def open_links(lab: Lab) -> None:
    for number in range(2):
        lab.host.call("open_link", f"agent{number}", parse_policy(["web.example.com"]))
        lab.host.call("pin", f"agent{number}", "web.example.com:443", WEB, 443)


def launch(lab: Lab, frame: Frame) -> int:
    """Send the frame from agent0; in how many frames its payload arrived outside or at the other agent."""
    gateway = lab.inside("host", netlab.device_mac, ONE.tap)
    arrived = 0
    with netlab.sniffing(lab, "internet") as outside, netlab.sniffing(lab, "agent1") as beside:
        lab.inside("agent0", netlab.send_frame, "eth0", frame(gateway))
        for collect in (outside, beside):
            # An error that the host sends back quotes the packet; it goes to the liar only.
            arrived += sum(PAYLOAD in found for found in collect())
    return arrived


def test_no_lie_leaves_its_link(lab: Lab) -> None:
    open_links(lab)
    for what, frame in LIES.items():
        assert launch(lab, frame) == 0, what


TWINLESS = {"a lone first fragment", "an address of the host"}
"""What the kernel may stop by itself, without any rule: incomplete packets, its own address as a source."""


def test_twin_without_rules_the_lies_travel(open_lab: Lab) -> None:
    for what, frame in LIES.items():
        if what not in TWINLESS:
            assert launch(open_lab, frame) >= 1, what


@pytest.mark.parametrize("target", ["ff02::1", "fe80::1"])
def test_ipv6_reaches_nothing_on_the_host(lab: Lab, target: str) -> None:
    open_links(lab)
    before = drops(lab)
    lab.inside("agent0", netlab.send_frame, "eth0", ipv6(b"\x33\x33\0\0\0\1", target))
    assert drops(lab) == before + 1 or not ipv6_is_on(lab)


def ipv6_is_on(lab: Lab) -> bool:
    """IPv6 is switched off on the link itself, so the packet may die before it meets the rule."""
    return lab.run("host", ["cat", "/proc/sys/net/ipv6/conf/nb0/disable_ipv6"]).stdout.strip() == "0"


def drops(lab: Lab) -> int:
    rules = [item["rule"] for item in lab.host.call("objects") if "rule" in item]
    counted = [rule["expr"] for rule in rules if rule["chain"] == "hygiene" and "nfproto" in str(rule["expr"])]
    return sum(statement["counter"]["packets"] for expr in counted for statement in expr if "counter" in statement)


def test_arp_cannot_move_anybodys_address(lab: Lab) -> None:
    open_links(lab)
    evil = mac("5a:94:ef:00:00:63")
    for source_ip in (ONE.guest, OTHER.guest, netlab.INTERNET):
        frame = ethernet(BROADCAST, evil, arp(evil, source_ip, ONE.gateway, 2), 0x0806)
        lab.inside("agent0", netlab.send_frame, "eth0", frame)
    neighbours = lab.run("host", ["ip", "neigh"]).stdout
    assert "5a:94:ef:00:00:63" not in neighbours
    assert f"{ONE.guest} dev nb0 lladdr {ONE.mac} PERMANENT" in neighbours


def test_twin_without_rules_arp_moves_an_address(open_lab: Lab) -> None:
    evil = mac("5a:94:ef:00:00:63")
    open_lab.run("host", ["ip", "neigh", "del", ONE.guest, "dev", "nb0"])
    frame = ethernet(BROADCAST, evil, arp(evil, ONE.guest, ONE.gateway, 1), 0x0806)
    open_lab.inside("agent0", netlab.send_frame, "eth0", frame)
    assert "5a:94:ef:00:00:63" in open_lab.run("host", ["ip", "neigh"]).stdout


def test_lies_are_counted_for_the_liar(lab: Lab) -> None:
    open_links(lab)
    launch(lab, LIES["another agent's address"])
    (spoofed,) = lab.host.call("elements", "spoofed")
    assert (spoofed["elem"]["val"], spoofed["elem"]["counter"]["packets"]) == ("nb0", 1)

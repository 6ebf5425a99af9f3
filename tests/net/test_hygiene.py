"""Frames that lie: about their source, their kind, their options. Each with a twin that shows them arriving."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import netlab
import pytest
import traffic
from netlab import WEB, Lab
from traffic import arp, ethernet, ipv4, mac, udp_datagram

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
    source, end = (socket.inet_pton(socket.AF_INET6, text) for text in ("fe80::2", target))
    # RFC 8200, 8.1: unlike over IPv4, the checksum is not optional.
    total = traffic.checksum(source + end + struct.pack("!II", len(content), 17) + content)
    content = content[:6] + struct.pack("!H", total) + content[8:]
    head = struct.pack("!IHBB", 6 << 28, len(content), 17, 64)
    return ethernet(gateway, ME, head + source + end + content, 0x86DD)


def echo() -> bytes:
    """An ICMP echo request that carries the payload (RFC 792)."""
    head = struct.pack("!BBHHH", 8, 0, 0, 1, 1)
    return head[:2] + struct.pack("!H", traffic.checksum(head + PAYLOAD)) + head[4:] + PAYLOAD


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
    gateway = lab.inside("host", traffic.device_mac, ONE.tap)
    arrived = 0
    with netlab.sniffing(lab, "internet") as outside, netlab.sniffing(lab, "agent1") as beside:
        lab.inside("agent0", traffic.send_frame, "eth0", frame(gateway))
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


TO_PORT = 53


def fragment(gateway: bytes, offset: int, content: bytes, *, more: bool) -> bytes:
    """One piece of a TCP segment to the granted address, `offset` octets into it (RFC 791, 3.2)."""
    return ethernet(gateway, ME, ipv4(ONE.guest, WEB, content, 6, frag=offset // 8 | (0x2000 if more else 0)))


def segment(port: int) -> bytes:
    """A SYN with the payload behind it (RFC 9293)."""
    data = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 2, 1000, 0, 0) + b"\0\0\0\0" + PAYLOAD
    ends = socket.inet_aton(ONE.guest) + socket.inet_aton(WEB)
    total = traffic.checksum(ends + struct.pack("!HH", 6, len(data)) + data)
    return data[:16] + struct.pack("!H", total) + data[18:]


PIECES: dict[str, Callable[[bytes], list[bytes]]] = {
    "a port that is not granted, in two pieces": lambda gw: [
        fragment(gw, 0, segment(80)[:24], more=True),
        fragment(gw, 24, segment(80)[24:], more=False),
    ],
    "a first piece too short for the port's flags": lambda gw: [
        fragment(gw, 0, segment(80)[:8], more=True),
        fragment(gw, 8, segment(80)[8:], more=False),
    ],
    "a second piece over the first that changes the port": lambda gw: [
        fragment(gw, 0, segment(443)[:24], more=True),
        fragment(gw, 0, segment(80)[:24], more=True),
        fragment(gw, 24, segment(80)[24:], more=False),
    ],
    "the last piece first": lambda gw: [
        fragment(gw, 24, segment(80)[24:], more=False),
        fragment(gw, 0, segment(80)[:24], more=True),
    ],
}  # fmt: skip


def launch_pieces(lab: Lab, pieces: Callable[[bytes], list[bytes]]) -> tuple[int, set[int]]:
    """How many packets arrived with the payload, and to which TCP ports those that say so were."""
    gateway = lab.inside("host", traffic.device_mac, ONE.tap)
    with netlab.sniffing(lab, "internet") as outside:
        for frame in pieces(gateway):
            lab.inside("agent0", traffic.send_frame, "eth0", frame)
        found = [frame for frame in outside() if frame[12:14] == b"\x08\0" and frame[23] == 6]
    firsts = [frame for frame in found if int.from_bytes(frame[20:22], "big") & 0x1FFF == 0]
    return sum(PAYLOAD in frame for frame in found), {int.from_bytes(frame[36:38], "big") for frame in firsts}


def test_pieces_hide_nothing(lab: Lab) -> None:
    open_links(lab)
    for what, pieces in PIECES.items():
        # The kernel puts packets together before any rule sees them; of two pieces for one place the first counts.
        expected = (1, {443}) if "over the first" in what else (0, set())
        assert launch_pieces(lab, pieces) == expected, what


def test_twin_without_rules_pieces_travel(open_lab: Lab) -> None:
    for what, pieces in PIECES.items():
        arrived, ports = launch_pieces(open_lab, pieces)
        assert (arrived, 80 in ports) == (1, True), what


class Ipv6Listener:
    """What reaches the host's port 53 by IPv6."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.bind(("::", TO_PORT))

    def heard(self, patience: float) -> bool:
        self._socket.settimeout(patience)
        try:
            return PAYLOAD in self._socket.recv(2048)
        except TimeoutError:
            return False


def switch_ipv6_on(lab: Lab) -> None:
    """Undo what the link's own settings do, so that the rules alone stand in the way."""
    done = lab.run("host", ["sh", "-c", f"echo 0 > /proc/sys/net/ipv6/conf/{ONE.tap}/disable_ipv6"])
    if done.returncode != 0:
        pytest.skip("this machine's kernel has no IPv6")


def test_ipv6_meets_the_rules_even_where_it_is_switched_on(lab: Lab) -> None:
    open_links(lab)
    switch_ipv6_on(lab)
    listener = lab.worker("host", Ipv6Listener)
    before = drops(lab)
    lab.inside("agent0", traffic.send_frame, "eth0", ipv6(b"\x33\x33\0\0\0\1", "ff02::1"))
    assert not listener.call("heard", 0.3)
    assert drops(lab) > before


def test_twin_without_rules_ipv6_is_heard(open_lab: Lab) -> None:
    switch_ipv6_on(open_lab)
    listener = open_lab.worker("host", Ipv6Listener)
    open_lab.inside("agent0", traffic.send_frame, "eth0", ipv6(b"\x33\x33\0\0\0\1", "ff02::1"))
    assert listener.call("heard", traffic.DEADLINE)


@pytest.mark.parametrize("target", ["ff02::1", "fe80::1"])
def test_ipv6_on_a_link_as_it_is_is_dropped_and_on_record(lab: Lab, target: str) -> None:
    if lab.run("host", ["test", "-e", "/proc/net/if_inet6"]).returncode != 0:
        pytest.skip("this machine's kernel has no IPv6")
    open_links(lab)
    lab.run("agent0", ["sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6"])  # its own chatter
    counted = ipv6_denials(lab)
    lab.inside("agent0", traffic.send_frame, "eth0", ipv6(b"\x33\x33\0\0\0\1", target))
    assert ipv6_denials(lab) == counted + 1


def ipv6_denials(lab: Lab) -> int:
    found = lab.host.call("denials")
    return sum(denial["count"] for denial in found if (denial["agent"], denial["kind"]) == ("agent0", "ipv6"))


def drops(lab: Lab) -> int:
    """What the rule against everything but IPv4 has counted."""
    rules = [item["rule"] for item in lab.host.call("objects") if "rule" in item]
    counted = [rule["expr"] for rule in rules if rule["chain"] == "hygiene" and "nfproto" in str(rule["expr"])]
    return sum(statement["counter"]["packets"] for expr in counted for statement in expr if "counter" in statement)


def test_arp_cannot_move_anybodys_address(lab: Lab) -> None:
    open_links(lab)
    evil = mac("5a:94:ef:00:00:63")
    for source_ip in (ONE.guest, OTHER.guest, netlab.INTERNET):
        frame = ethernet(BROADCAST, evil, arp(evil, source_ip, ONE.gateway, 2), 0x0806)
        lab.inside("agent0", traffic.send_frame, "eth0", frame)
    neighbours = lab.run("host", ["ip", "neigh"]).stdout
    assert "5a:94:ef:00:00:63" not in neighbours
    assert f"{ONE.guest} dev nb0 lladdr {ONE.mac} PERMANENT" in neighbours


def test_twin_without_rules_arp_moves_an_address(open_lab: Lab) -> None:
    evil = mac("5a:94:ef:00:00:63")
    open_lab.run("host", ["ip", "neigh", "del", ONE.guest, "dev", "nb0"])
    frame = ethernet(BROADCAST, evil, arp(evil, ONE.guest, ONE.gateway, 1), 0x0806)
    open_lab.inside("agent0", traffic.send_frame, "eth0", frame)
    assert "5a:94:ef:00:00:63" in open_lab.run("host", ["ip", "neigh"]).stdout


def test_lies_are_counted_for_the_liar(lab: Lab) -> None:
    open_links(lab)
    launch(lab, LIES["another agent's address"])
    (spoofed,) = lab.host.call("elements", "spoofed")
    assert (spoofed["elem"]["val"], spoofed["elem"]["counter"]["packets"]) == ("nb0", 1)


def test_options_are_on_record(lab: Lab) -> None:
    open_links(lab)
    launch(lab, LIES["a record-route option"])
    found = [(each["agent"], each["kind"], each["count"]) for each in lab.host.call("denials")]
    assert ("agent0", "options", 1) in found


def test_a_links_record_goes_with_it_and_stays_its_agents(lab: Lab) -> None:
    open_links(lab)
    launch(lab, LIES["another agent's address"])
    lab.inside("agent0", traffic.tcp, netlab.WEB2, 443)
    lab.host.call("close_link", "agent0")
    kinds = {each["kind"] for each in lab.host.call("denials") if each["agent"] == "agent0"}
    assert {"spoofed", "packet"} <= kinds
    for name in ("spoofed", "denied"):
        assert lab.host.call("elements", name) == [], "the next owner of the TAP has not done it"

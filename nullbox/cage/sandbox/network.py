"""Effects: the sandbox's network device. The agent's end of a veth pair is fetched from the namespace that egress made
it in, becomes `eth0`, and is configured as in a VM.

A netlink socket belongs to the namespace that it was made in: one made before `unshare` reaches the device there.

Sources: rtnetlink(7), netlink(7), Linux include/uapi/linux/if_link.h.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct

from nullbox.cage.process_plan import PEER_SUFFIX
from nullbox.cage.sandbox import syscalls
from nullbox.cage.vmplan import Link
from nullbox.guest import launcher

INTERFACE = "eth0"
RTM_NEWLINK, NLMSG_ERROR = 16, 2
NLM_F_REQUEST, NLM_F_ACK = 1, 4
IFLA_ADDRESS, IFLA_IFNAME, IFLA_NET_NS_FD = 1, 3, 28


def enter(link: Link | None) -> None:
    """A network namespace of its own, with a loopback device and, given a link, with `eth0`.

    Raises:
        OSError: the kernel refused. launcher.Unready: the device cannot be configured.
    """
    if link is None:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        up("lo")
        return
    peer = link.tap + PEER_SUFFIX
    index = socket.if_nametoindex(peer)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as outside:
        syscalls.unshare(syscalls.CLONE_NEWNET)
        here = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            outside.send(move_request(index, here, link.mac))
            code = answer(outside.recv(65536))
        finally:
            os.close(here)
    if code:
        raise OSError(code, f"move {peer} into the sandbox: {os.strerror(code)}")
    up("lo")
    launcher.configure_network(INTERFACE, link.guest_address, link.prefix, link.gateway_address)


def move_request(index: int, namespace: int, mac: str) -> bytes:
    """RTM_NEWLINK: device `index` goes to the namespace of that descriptor, as `INTERFACE` with that address. Pure."""
    body = struct.pack("=BxHiII", socket.AF_UNSPEC, 0, index, 0, 0)
    body += attribute(IFLA_NET_NS_FD, struct.pack("=I", namespace))
    body += attribute(IFLA_IFNAME, INTERFACE.encode() + b"\0")
    body += attribute(IFLA_ADDRESS, bytes.fromhex(mac.replace(":", "")))
    return struct.pack("=IHHII", 16 + len(body), RTM_NEWLINK, NLM_F_REQUEST | NLM_F_ACK, 1, 0) + body


def attribute(kind: int, value: bytes) -> bytes:
    """One rtattr, padded to four bytes. Pure."""
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


def answer(message: bytes) -> int:
    """The error number in an acknowledgement; 0 for success. Pure."""
    _, kind, _, _, _, error = struct.unpack_from("=IHHIIi", message)
    return -error if kind == NLMSG_ERROR else 0


def up(interface: str) -> None:
    """Bring a device up: netdevice(7)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = launcher.ifreq(interface, struct.pack("h", launcher.IFF_UP))
        fcntl.ioctl(control.fileno(), launcher.SIOCSIFFLAGS, request)

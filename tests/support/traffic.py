"""What goes over the wire in a laboratory: servers, clients, frames and who watches for them."""

from __future__ import annotations

import select
import socket
import struct
import threading
import time
from collections.abc import Iterable

ETH_P_ALL = 3
DEADLINE = 10.0
"""Seconds that a frame may take to arrive."""


class Servers:
    """TCP and UDP servers on all addresses of a namespace. They say who asked: `<address> <port>`."""

    def __init__(self, tcp: Iterable[int] = (), udp: Iterable[int] = ()) -> None:
        self.seen: list[tuple[str, str, int]] = []
        ready = [self._listen(socket.SOCK_STREAM, port) for port in tcp]
        ready += [self._listen(socket.SOCK_DGRAM, port) for port in udp]
        threading.Thread(target=self._loop, args=(ready,), daemon=True).start()

    def hits(self) -> list[tuple[str, str, int]]:
        return list(self.seen)

    @staticmethod
    def _listen(kind: int, port: int) -> socket.socket:
        listener = socket.socket(socket.AF_INET, kind)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))
        if kind == socket.SOCK_STREAM:
            listener.listen(1024)
        return listener

    def _loop(self, listeners: list[socket.socket]) -> None:
        flows: list[socket.socket] = []
        while True:
            for ready in select.select([*listeners, *flows], [], [])[0]:
                try:
                    if ready in flows:
                        data = ready.recv(4096)
                        if data:
                            ready.sendall(data)
                        else:
                            flows.remove(ready)
                            ready.close()
                    elif ready.type == socket.SOCK_STREAM:
                        flow, peer = ready.accept()
                        self.seen.append(("tcp", peer[0], ready.getsockname()[1]))
                        flow.sendall(b"hello\n")
                        flows.append(flow)
                    else:
                        data, peer = ready.recvfrom(4096)
                        self.seen.append(("udp", peer[0], ready.getsockname()[1]))
                        ready.sendto(b"hello " + data, peer)
                except OSError:
                    if ready in flows:
                        flows.remove(ready)


def tcp(address: str, port: int, timeout: float = 2.0) -> str:
    """Try to connect and hear the server's greeting: `open`, `refused`, `unreachable` or `silent`."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as flow:
        flow.settimeout(timeout)
        try:
            flow.connect((address, port))
            return "open" if flow.recv(64) else "closed"
        except ConnectionRefusedError:
            return "refused"
        except TimeoutError:
            return "silent"
        except OSError as error:
            return "unreachable" if error.errno in (101, 111, 113) else f"error {error.errno}"


def udp(address: str, port: int, payload: bytes = b"x", timeout: float = 1.0) -> str:
    """Send one datagram and wait for the echo: `open`, `refused` or `silent`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flow:
        flow.settimeout(timeout)
        try:
            flow.connect((address, port))
            flow.send(payload)
            return "open" if flow.recv(2048) else "closed"
        except (ConnectionRefusedError, PermissionError):
            return "refused"
        except TimeoutError:
            return "silent"
        except OSError as error:
            return "refused" if error.errno in (101, 113) else f"error {error.errno}"


class Flow:
    """One TCP connection that stays open over several calls."""

    def __init__(self, address: str, port: int) -> None:
        self._socket = socket.create_connection((address, port), timeout=2)
        assert self._socket.recv(64) == b"hello\n"

    def echo(self, text: bytes = b"ping") -> str:
        self._socket.settimeout(1.5)
        try:
            self._socket.sendall(text)
            return "open" if self._socket.recv(64) else "closed"
        except TimeoutError:
            return "silent"
        except OSError:
            return "reset"


class Sniffer:
    """Collects the frames that reach a device."""

    def __init__(self, device: str) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((device, 0))

    def frames(self, until: bytes) -> list[bytes]:
        """All incoming frames up to the one that contains `until`.

        Raises:
            TimeoutError: it did not come.
        """
        found = []
        end = time.monotonic() + DEADLINE
        while True:
            self._socket.settimeout(max(0.01, end - time.monotonic()))
            frame, address = self._socket.recvfrom(65535)
            if address[2] == socket.PACKET_OUTGOING:
                continue
            if until in frame:
                return found
            found.append(frame)


def send_frame(device: str, frame: bytes) -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind((device, 0))
        link.send(frame)


def device_mac(device: str) -> bytes:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
        link.bind((device, 0))
        address: bytes = link.getsockname()[4]
        return address


def mac(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def ethernet(target: bytes, source: bytes, payload: bytes, kind: int = 0x0800) -> bytes:
    return target + source + struct.pack("!H", kind) + payload


def checksum(data: bytes) -> int:
    if len(data) % 2:
        data += b"\0"
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ipv4(source: str, target: str, payload: bytes, proto: int = 17, options: bytes = b"", frag: int = 0) -> bytes:
    """An IPv4 packet (RFC 791); `frag` is the flags-and-offset field."""
    length = 20 + len(options)
    head = struct.pack(
        "!BBHHHBBH4s4s",
        0x40 | length // 4, 0, length + len(payload), 0x1234, frag, 64, proto, 0,
        socket.inet_aton(source), socket.inet_aton(target),
    )  # fmt: skip
    head += options
    return head[:10] + struct.pack("!H", checksum(head)) + head[12:] + payload


def udp_datagram(source_port: int, port: int, payload: bytes) -> bytes:
    """A UDP datagram without a checksum, which IPv4 allows (RFC 768)."""
    return struct.pack("!HHHH", source_port, port, 8 + len(payload), 0) + payload


def arp(source_mac: bytes, source_ip: str, target_ip: str, operation: int = 1) -> bytes:
    return (
        struct.pack("!HHBBH", 1, 0x0800, 6, 4, operation)
        + source_mac + socket.inet_aton(source_ip) + b"\0" * 6 + socket.inet_aton(target_ip)
    )  # fmt: skip

"""An internet for one booted machine at the far end of its wire (`wire`): servers, and no way out.

Everything that a machine sends arrives here or nowhere. Names and addresses are those of `netlab`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from typing import Any

import netspace
from namelab import NameServer, Zone
from netlab import HOST_OUTSIDE, INTERNET, INTERNET_BLOCKS, UPSTREAM, WEB
from netspace import Worker
from traffic import ETH_P_ALL, Servers
from wire import DEVICE, Wire

UPLINK = f"{HOST_OUTSIDE}/24,{INTERNET},{UPSTREAM}"
"""For the kernel's command line (`nullbox.uplink=`): the machine's address, its router, its resolver."""
TCP_PORTS = (22, 80, 443, 853, 8443)
UDP_PORTS = (443, 5353)
ZONES = {
    "web.example.com": Zone([WEB]),
    "a.wild.example.com": Zone([WEB]),
    "b.a.wild.example.com": Zone([WEB]),
    "wild.example.com": Zone([WEB]),
    "rebind.example.com": Zone(["169.254.169.254"]),
    "nullbox-secret.evil.org": Zone([WEB]),
}


class Frames:
    """Every frame that comes over a device: how many there were, and those that hold one of the words."""

    def __init__(self, device: str, words: tuple[bytes, ...]) -> None:
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self._socket.bind((device, 0))
        self._words = words
        self.total = 0
        self.caught: list[bytes] = []
        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self) -> None:
        while True:
            frame, address = self._socket.recvfrom(65535)
            if address[2] != socket.PACKET_OUTGOING:
                self.total += 1
                self.caught += [frame] if any(word in frame.lower() for word in self._words) else []

    def seen(self) -> tuple[int, list[bytes]]:
        return self.total, list(self.caught)


class Outside:
    """Servers in the namespace of a wire whose far end has the address `INTERNET`."""

    def __init__(self, wire: Wire) -> None:
        self._namespace = wire.namespace
        self._workers: list[Worker] = []
        wire.run("ip", "link", "set", "lo", "up")
        for block in INTERNET_BLOCKS:
            wire.run("ip", "route", "add", "local", block, "dev", "lo")
        try:
            self.names = self.worker(NameServer)
            self.names.call("tell", ZONES)
            self.servers = self.worker(lambda: Servers(tcp=TCP_PORTS, udp=UDP_PORTS))
            self.frames = self.worker(lambda: Frames(DEVICE, (b"nullbox-secret",)))
        except BaseException:
            self.close()
            raise

    def inside(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function there: that the servers answer at all can be seen from beside them."""
        return netspace.inside(self._namespace, function, *args)

    def close(self) -> None:
        for worker in self._workers:
            with contextlib.suppress(Exception):
                worker.kill()

    def worker(self, make: Callable[[], Any]) -> Worker:
        """One more server there: an object, until this is closed."""
        worker = Worker(self._namespace, make)
        self._workers.append(worker)
        return worker

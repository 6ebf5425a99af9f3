"""The other end of a machine's network card: a TAP in a network namespace of its own, from which nothing leads out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import select
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from netspace import enter

TUNSETIFF = 0x400454CA
IFF_TAP = 0x0002
IFF_NO_PI = 0x1000
DEVICE = "wire0"
PATIENCE = 0.5
"""Seconds that a frame waits for a busy machine, whose socket holds ten (net.unix.max_dgram_qlen)."""


@dataclass(frozen=True)
class Wire:
    """namespace: where the far end is, as the device `DEVICE` with its address. path: for `Machine.wire`."""

    namespace: str
    path: Path

    def run(self, *words: str, timeout: float = 300.0) -> str:
        """A program at the far end."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.namespace, *words], capture_output=True, text=True, timeout=timeout
        )
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"
        return done.stdout


@contextlib.contextmanager
def laid(folder: Path, address: str = "192.0.2.1/24") -> Iterator[Wire]:
    """Lay the wire; its far end gets this address."""
    name = f"nbw{secrets.token_hex(3)}"
    wire = Wire(name, folder / "wire")
    subprocess.run(["ip", "netns", "add", name], check=True)
    pid = 0
    try:
        ready, told = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                _carry(wire, told)
            finally:
                os._exit(1)
        os.close(told)
        assert os.read(ready, 1) == b".", "the wire could not be laid"
        os.close(ready)
        subprocess.run(["ip", "-n", name, "addr", "add", address, "dev", DEVICE], check=True)
        subprocess.run(["ip", "-n", name, "link", "set", DEVICE, "up"], check=True)
        yield wire
    finally:
        if pid:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        subprocess.run(["ip", "netns", "del", name], check=False)


def _carry(wire: Wire, told: int) -> None:
    """Carry frames between QEMU's socket and the TAP, for ever."""
    enter(wire.namespace)
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH", DEVICE.encode(), IFF_TAP | IFF_NO_PI))
    qemu = str(wire.path) + ".qemu"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(wire.path) + ".peer")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", *divmod(int(PATIENCE * 1e6), 10**6)))
        os.write(told, b".")
        while True:
            for ready in select.select([tap, end], [], [])[0]:
                # A frame for a machine that is off, or does not take it in time, is lost, as on any wire.
                with contextlib.suppress(OSError):
                    if ready is tap:
                        end.sendto(os.read(tap, 65536), qemu)
                    else:
                        os.write(tap, end.recv(65536))

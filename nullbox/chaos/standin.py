"""What runs in place of a VM where there is no hardware for one: a process with a VM's connections to the host.

It takes the console, joins the cgroup, holds the TAP, answers the control channel as the launcher in a guest does (and
as the user that the VMM would be), and behind the agent's own channel writes a growing number into ctxgraph. What was
acknowledged it notes in a file, and through the TAP it keeps trying what no policy allows. It confines nothing, and is
in no image.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time
import uuid
from pathlib import Path
from typing import NoReturn

from nullbox.cage.vmm import await_record, join_cgroup, read_plan, take_console
from nullbox.cage.vmplan import VmPlan
from nullbox.protocols.layout import Layout

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI = 0x0002, 0x1000
SIOCGIFHWADDR = 0x8927
"""netdevice(7): the MAC address of an interface."""
INTERVAL = 0.05
FORBIDDEN = "192.0.2.99"
"""Documentation address (RFC 5737) that no manifest of the harness grants."""


def acknowledged(run: Path, agent: str) -> Path:
    """Where the numbers are noted that ctxgraph said it has."""
    return run / f"chaos-acks-{agent}"


class StandIn:
    def __init__(self, plan: VmPlan) -> None:
        folder = Path(plan.console).parent
        run = folder.parents[2]
        self.agent = plan.agent
        self.secret = json.loads((run.parent / "config.json").read_text())["secret"]
        self.acks = open(acknowledged(run, plan.agent), "ab", buffering=0)  # noqa: SIM115 - for the process's life
        self.ctx_path = str(Layout(run).ctx_socket(plan.agent))
        self.ctx: socket.socket | None = None
        self.asked = ""
        self.pending = b""
        self.spoken = 0
        self.selector = selectors.DefaultSelector()
        self.boot_id = str(uuid.uuid4())
        control = socket.socket(socket.AF_UNIX)
        path = folder / "room" / "control.sock"
        path.unlink(missing_ok=True)
        control.bind(str(path))
        os.seteuid(plan.jail.uid)  # who listens is who asked for it, at that moment (unix(7), SO_PEERCRED)
        control.listen(4)
        os.seteuid(0)
        self.selector.register(control, selectors.EVENT_READ, self.accept)
        self.control = control
        self.tap = self.open_tap(plan) if plan.link is not None else -1
        self.frame = self.forbidden_frame(plan)

    def open_tap(self, plan: VmPlan) -> int:
        assert plan.link is not None
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", plan.link.tap.encode(), IFF_TAP | IFF_NO_PI))
        return fd

    def forbidden_frame(self, plan: VmPlan) -> bytes:
        """An Ethernet frame with a UDP datagram to where the agent may not go (RFC 791, RFC 768)."""
        if plan.link is None:
            return b""
        source = socket.inet_aton(plan.link.guest_address)
        header = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28, 0, 0, 64, 17, 0, source, socket.inet_aton(FORBIDDEN))
        total = sum(struct.unpack("!10H", header))
        total = (total & 0xFFFF) + (total >> 16)
        header = header[:10] + struct.pack("!H", ~total & 0xFFFF) + header[12:]
        datagram = struct.pack("!HHHH", 4444, 4444, 8, 0)
        # Asked of the namespace that this runs in; /sys shows that of whoever mounted it.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            answer = fcntl.ioctl(control, SIOCGIFHWADDR, struct.pack("16s24x", plan.link.tap.encode()))
        gateway, source = answer[18:24], bytes.fromhex(plan.link.mac.replace(":", ""))
        return gateway + source + b"\x08\x00" + header + datagram

    def run(self) -> NoReturn:
        print(f"{self.agent} up, boot {self.boot_id}", flush=True)
        signal.signal(signal.SIGUSR1, lambda *_: self.speak())
        number, due = 0, time.monotonic()
        while True:
            for key, _ in self.selector.select(max(0.0, due - time.monotonic())):
                key.data(key.fileobj)
            if time.monotonic() >= due:
                due = time.monotonic() + INTERVAL
                number += 1
                self.misbehave()
                if self.ctx is None or not self.asked:
                    self.write(number)

    def speak(self) -> None:
        """A line on the console whenever somebody sends SIGUSR1."""
        self.spoken += 1
        print(f"{self.agent} spoke {self.spoken}", flush=True)

    def misbehave(self) -> None:
        if self.tap >= 0 and self.frame:
            with contextlib.suppress(OSError):
                os.write(self.tap, self.frame)
            with contextlib.suppress(OSError):
                while os.read(self.tap, 2048):
                    pass

    # --- control channel

    def accept(self, listener: socket.socket) -> None:
        connection, _ = listener.accept()
        hello = {"kernel": "standin", "boot_id": self.boot_id, "pid": os.getpid()}
        with contextlib.suppress(OSError):
            connection.sendall(json.dumps(hello).encode() + b"\n")
        self.selector.register(connection, selectors.EVENT_READ, self.command)

    def command(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = connection.recv(4096)
        if b"terminate" in data:
            sys.exit(0)
        if not data:
            self.selector.unregister(connection)
            connection.close()

    # --- ctxgraph

    def write(self, number: int) -> None:
        if self.ctx is None:
            connection = socket.socket(socket.AF_UNIX)
            try:
                connection.connect(self.ctx_path)
            except OSError:
                connection.close()
                return
            self.ctx = connection
            self.selector.register(connection, selectors.EVENT_READ, self.answered)
        self.asked = f"{self.boot_id} {number}"
        request = {
            "jsonrpc": "2.0",
            "id": number,
            "method": "write",
            "params": {"key": f"chaos.{self.agent}", "value": {"note": self.asked, "secret": self.secret}},
        }
        try:
            self.ctx.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            self.hang_up()

    def answered(self, connection: socket.socket) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = connection.recv(65536)
        self.pending += data
        if not data:
            self.hang_up()
        elif b"\n" in self.pending:
            line, _, self.pending = self.pending.partition(b"\n")
            if "result" in json.loads(line):
                self.acks.write(self.asked.encode() + b"\n")
            self.asked = ""

    def hang_up(self) -> None:
        if self.ctx is not None:
            self.selector.unregister(self.ctx)
            self.ctx.close()
        self.ctx, self.asked, self.pending = None, "", b""


def main() -> NoReturn:
    await_record(Path(sys.argv[1]).parent)
    plan = read_plan(Path(sys.argv[1]))
    take_console(Path(plan.console))
    join_cgroup(Path(plan.cgroup))
    StandIn(plan).run()


if __name__ == "__main__":
    main()

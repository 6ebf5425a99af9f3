"""A small network to attack, in namespaces of its own: agents, a host, an internet. Nothing leads out of it.

    agent0 eth0 ── nb0 ┐
                       host up0 ── eth0 internet
    agent1 eth0 ── nb1 ┘

One end of a veth pair stands for a TAP. The internet answers on every address that a test gives it, so that an
attack which gets through is seen to get through. All devices are created inside the namespaces; the machine's own
is never touched.
"""

from __future__ import annotations

import contextlib
import ctypes
import multiprocessing
import os
import secrets
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from nullbox.egress.nft import KernelFirewall
from nullbox.egress.policy import LinkPolicy
from nullbox.egress.ruleset import Base
from nullbox.egress.service import EgressService, LinkInfo
from nullbox.egress.slots import Slot
from nullbox.egress.tap import KernelTaps
from nullbox.protocols.errors import NullBoxError

CLONE_NEWNET = 0x40000000
ETH_P_ALL = 3
DEADLINE = 10.0
UPLINK = "up0"
HOST_OUTSIDE = "100.127.0.1"
INTERNET = "100.127.0.2"
INTERNET_BLOCKS = (
    "45.0.0.0/8",
    "10.0.0.0/10",
    "100.100.100.0/24",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
)
"""What the internet of the lab answers for: ordinary addresses, and special-purpose ones that an attacker is after."""
WEB = "45.33.32.10"
WEB2 = "45.33.32.11"
UPSTREAM = "45.33.32.53"

_fork = multiprocessing.get_context("fork")


def missing() -> str:
    """Why the lab cannot be built here; empty if it can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need iproute2"
    probe = subprocess.run(["unshare", "-n", "true"], capture_output=True, check=False)
    return "" if probe.returncode == 0 else "this machine does not allow network namespaces"


def enter(namespace: str) -> None:
    """Move this thread, for good, into a named namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/run/netns/{namespace}", "rb") as handle:
        if libc.setns(handle.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"setns {namespace}")


def inside(namespace: str, function: Callable[..., Any], *args: Any) -> Any:
    """Call a function in a named namespace, in a process of its own, and give back its result."""
    near, far = _fork.Pipe()

    def run() -> None:
        try:
            enter(namespace)
            far.send((True, function(*args)))
        except BaseException:
            far.send((False, traceback.format_exc()))
        os._exit(0)

    process = _fork.Process(target=run, daemon=True)
    process.start()
    far.close()
    try:
        if not near.poll(60):
            raise TimeoutError(f"{function} did not come back")
        ok, value = near.recv()
    finally:
        process.kill()
        process.join()
    if not ok:
        raise AssertionError(value)
    return value


class Worker:
    """An object that lives in its own process and namespace; its methods are called over a pipe."""

    def __init__(self, namespace: str, make: Callable[[], Any]) -> None:
        self._pipe, far = _fork.Pipe()
        self._process = _fork.Process(target=self._serve, args=(namespace, make, far, self._pipe), daemon=True)
        self._process.start()
        far.close()
        self._result("start")

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def call(self, method: str, *args: Any, **kwargs: Any) -> Any:
        self._pipe.send((method, args, kwargs))
        return self._result(method)

    def _result(self, method: str) -> Any:
        if not self._pipe.poll(60):
            raise TimeoutError(f"the worker did not answer {method}")
        ok, value = self._pipe.recv()
        if not ok:
            if isinstance(value, tuple):
                raise NullBoxError(*value)
            raise AssertionError(value)
        return value

    def kill(self) -> None:
        self._process.kill()
        self._process.join()

    @staticmethod
    def _serve(namespace: str, make: Callable[[], Any], pipe: Connection, near: Connection) -> None:
        near.close()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            enter(namespace)
            target = make()
            pipe.send((True, None))
        except BaseException:
            pipe.send((False, traceback.format_exc()))
            os._exit(1)
        while True:
            try:
                method, args, kwargs = pipe.recv()
            except (EOFError, OSError):
                os._exit(0)
            try:
                pipe.send((True, getattr(target, method)(*args, **kwargs)))
            except NullBoxError as error:
                pipe.send((False, (error.code, error.message)))
            except Exception:
                pipe.send((False, traceback.format_exc()))


class VethTaps(KernelTaps):
    """Where the lab has made a device already, it stands for the TAP; elsewhere TAPs are real."""

    def _make_device(self, route: Any, slot: Slot, uid: int) -> None:
        if not route.link_lookup(ifname=slot.tap):
            super()._make_device(route, slot, uid)

    def remove(self, slot: Slot) -> None:
        with contextlib.suppress(Exception):
            super().remove(slot)


class Host:
    """What runs in the host's namespace: the service, over the real kernel."""

    def __init__(self, *, real_taps: bool = False) -> None:
        self.taps: KernelTaps = KernelTaps() if real_taps else VethTaps()
        self.firewall = KernelFirewall()
        self.restart()

    def restart(self) -> None:
        """Forget everything that is not in the kernel."""
        self.service = EgressService(Base((UPLINK,)), self.firewall, self.taps)

    def prepare(self) -> None:
        self.service.prepare()

    def unprotected(self, slots: Iterable[int]) -> None:
        """The twin: the same links, addresses and forwarding, but no rule at all."""
        self.taps.enable_forwarding()
        for number in slots:
            slot = Slot(number)
            self.taps.create(slot, f"agent{number}", 0)
            for key, value in (("rp_filter", "0"), ("arp_ignore", "0")):
                with open(f"/proc/sys/net/ipv4/conf/{slot.tap}/{key}", "w") as handle:
                    handle.write(value)
            self.taps.up(slot)

    def open_link(self, agent: str, policy: LinkPolicy) -> LinkInfo:
        return self.service.open_link(agent, policy)

    def change_policy(self, agent: str, policy: LinkPolicy) -> None:
        self.service.change_policy(agent, policy)

    def close_link(self, agent: str) -> None:
        self.service.close_link(agent)

    def reconcile(self, agents: list[str]) -> list[str]:
        return self.service.reconcile(agents)

    def rules(self, agent: str | None = None) -> dict[str, Any]:
        return self.service.rules(agent)

    def apply(self, commands: list[Any]) -> None:
        self.firewall.apply(commands)

    def elements(self, name: str, family: str = "inet") -> list[Any]:
        return self.firewall.elements(name, family)

    def pin(self, agent: str, grant: str, address: str, port: int, seconds: int = 60) -> None:
        """Do by hand what a DNS answer does."""
        link = self.service.links[agent]
        key = {"concat": [link.slot.tap, address, "tcp", port]}
        item = [{"elem": {"val": key, "timeout": seconds}}, link.marks[grant]]
        place = {"family": "inet", "table": "nullbox", "name": "grants"}
        self.firewall.apply([{"add": {"element": {**place, "elem": [item]}}}])

    def objects(self) -> list[Any]:
        return self.firewall.objects()

    def denials(self) -> list[dict[str, Any]]:
        """What was refused so far."""
        self.service.poll()
        return [denial.as_dict() for denial in self.service.events.since()]

    def tap_list(self) -> list[Any]:
        return self.taps.list()


class Lab:
    """The namespaces and what runs in them. Close it, or use it with `with`: everything goes, also after a failure."""

    def __init__(self, agents: int = 2, host: Callable[[], Any] | None = None) -> None:
        self.tag = f"nbtest-{secrets.token_hex(3)}"
        self.agents = agents
        self._workers: list[Worker] = []
        self._processes: list[subprocess.Popen[str]] = []
        self._namespaces: list[str] = []
        try:
            self._build()
            self.host = self.worker("host", host or Host)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def name(self, role: str) -> str:
        return f"{self.tag}-{role}"

    def worker(self, role: str, make: Callable[[], Any]) -> Worker:
        worker = Worker(self.name(role), make)
        self._workers.append(worker)
        return worker

    def inside(self, role: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in a namespace, in a process of its own, and give back its result."""
        return inside(self.name(role), function, *args)

    def spawn(self, role: str, argv: list[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program in a namespace; it is ended with the lab."""
        command = ["ip", "netns", "exec", self.name(role), *argv]
        process = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, **options)
        self._processes.append(process)
        return process

    def run(self, role: str, argv: list[str], timeout: float = 30) -> subprocess.CompletedProcess[str]:
        command = ["ip", "netns", "exec", self.name(role), *argv]
        return subprocess.run(command, text=True, capture_output=True, timeout=timeout, check=False)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
        for worker in self._workers:
            with contextlib.suppress(Exception):
                worker.kill()
        for namespace in self._namespaces:
            subprocess.run(["ip", "netns", "delete", namespace], capture_output=True, check=False)
        self._processes, self._workers, self._namespaces = [], [], []

    def _ip(self, role: str, *argv: str) -> None:
        subprocess.run(["ip", "-n", self.name(role), *argv], check=True, capture_output=True, text=True)

    def _build(self) -> None:
        for role in ("host", "internet", *(f"agent{number}" for number in range(self.agents))):
            subprocess.run(["ip", "netns", "add", self.name(role)], check=True, capture_output=True)
            self._namespaces.append(self.name(role))
            self._ip(role, "link", "set", "lo", "up")
        internet = self.name("internet")
        self._ip("host", "link", "add", UPLINK, "type", "veth", "peer", "name", "eth0", "netns", internet)
        self._ip("host", "addr", "add", f"{HOST_OUTSIDE}/24", "dev", UPLINK)
        self._ip("host", "link", "set", UPLINK, "up")
        self._ip("internet", "addr", "add", f"{INTERNET}/24", "dev", "eth0")
        self._ip("internet", "link", "set", "eth0", "up")
        self._ip("host", "route", "add", "default", "via", INTERNET)
        self._ip("internet", "route", "add", "10.90.0.0/16", "via", HOST_OUTSIDE)
        for block in INTERNET_BLOCKS:
            # The whole block is at home there: every address of it answers.
            self._ip("internet", "route", "add", "local", block, "dev", "lo")
        for number in range(self.agents):
            slot, role = Slot(number), f"agent{number}"
            self._ip("host", "link", "add", slot.tap, "type", "veth", "peer", "name", "eth0", "netns", self.name(role))
            self._ip("host", "link", "set", slot.tap, "alias", role)
            self._ip(role, "link", "set", "eth0", "address", slot.mac)
            self._ip(role, "addr", "add", f"{slot.guest}/30", "dev", "eth0")
            self._ip(role, "link", "set", "eth0", "up")
            self._ip(role, "route", "add", "default", "via", slot.gateway)


# --- what runs inside ---------------------------------------------------------------------------------------


class Servers:
    """TCP and UDP servers on all addresses of a namespace. They say who asked: `<address> <port>`."""

    def __init__(self, tcp: Iterable[int] = (), udp: Iterable[int] = ()) -> None:
        import threading

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


@contextlib.contextmanager
def scratch() -> Iterator[str]:
    """The path of an empty file, gone afterwards."""
    with tempfile.NamedTemporaryFile(prefix="nbtest-") as file:
        yield file.name


@contextlib.contextmanager
def sniffing(lab: Lab, role: str, device: str = "eth0") -> Iterator[Callable[[], list[bytes]]]:
    """Frames that reach `device` of `role` while the block runs; ask for them inside the block, once."""
    worker = lab.worker(role, lambda: Sniffer(device))

    def collect() -> list[bytes]:
        marker = secrets.token_bytes(16)
        lab.inside("host", _mark, lab_device(role), marker)
        found: list[bytes] = worker.call("frames", marker)
        return found

    yield collect


def lab_device(role: str) -> str:
    """The host's end of the cable to `role`."""
    return UPLINK if role == "internet" else f"nb{role.removeprefix('agent')}"


def _mark(device: str, marker: bytes) -> None:
    send_frame(device, ethernet(b"\xff" * 6, device_mac(device), marker, 0x88B5))

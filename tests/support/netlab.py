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
import secrets
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from netspace import Worker, inside
from traffic import Sniffer, device_mac, ethernet, send_frame

from nullbox.egress.nft import KernelFirewall
from nullbox.egress.policy import LinkPolicy
from nullbox.egress.ruleset import Base
from nullbox.egress.service import EgressService, LinkInfo
from nullbox.egress.slots import Slot
from nullbox.egress.tap import KernelTaps

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

    def open_link(self, agent: str, policy: LinkPolicy, uid: int = 0) -> LinkInfo:
        return self.service.open_link(agent, policy, uid)

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

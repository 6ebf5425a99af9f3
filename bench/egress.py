"""The firewall with a thousand agents beside itself with one, and the resolver beside its upstream, in one run.

    python -m bench.egress [--quick] [--rounds 7] [--agents 1000] [--hosts 20] [--json FILE]

Everything happens in network namespaces of the bench's own, with no way out (see tests/support/netlab.py). Machines
drift, so the sides take turns; of times the smallest counts, since noise only adds. All bounds are judged by wall time;
processor time is shown beside it, since a busy machine adds to the one and not to the other. Needs root, and `dnsperf`
for one figure.
"""

from __future__ import annotations

import resource
import shutil
import socket
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import MappingProxyType
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import netspace
from namelab import NameHost, NameServer, Zone, lookup
from netlab import UPSTREAM, WEB, Lab

from bench.command import argument_parser, finish
from nullbox.egress.links import change
from nullbox.egress.nft import KernelFirewall
from nullbox.egress.pins import Pins
from nullbox.egress.policy import parse_policy
from nullbox.egress.ruleset import Base, base_commands, element
from nullbox.egress.slots import Slot

MUST = MappingProxyType(
    {
        "packet_cost_ratio": ("<=", 1.05, ""),
        "throughput_ratio": (">=", 0.95, ""),
        "grant_p99_ms": ("<=", 5.0, "ms"),
        "pin_p99_ms": ("<=", 5.0, "ms"),
        "revoke_p99_ms": ("<=", 5.0, "ms"),
        "full_ruleset_s": ("<=", 2.0, "s"),
        "full_ruleset_mb": ("<=", 150.0, "MB"),
        "cached_answers_per_s": (">=", 3000.0, "/s"),
        "added_latency_ms": ("<=", 2.0, "ms"),
    }
)
ASKED_PER_S = 4900
FIRST = 10
"""Slot of the first agent of the crowd; those below are the lab's own."""


def crowd(agents: int, hosts: int, next_mark: int) -> list[Any]:
    """The commands that make so many agents with so many granted, resolved hosts each."""
    commands: list[Any] = []
    for number in range(agents):
        slot = Slot(FIRST + number)
        policy = parse_policy([f"h{host}.a{number}.example.com" for host in range(hosts)])
        link, more, next_mark = change(None, slot, f"crowd{number}", policy, next_mark)
        pins = Pins(slot.tap)
        commands += more
        for host, mark in enumerate(link.marks.values()):
            address = f"45.{50 + host}.{number >> 8}.{number & 255}"
            commands += pins.grant([(443, mark)], [address], 3600, 0.0)
    return merged(commands)


def merged(commands: list[Any]) -> list[Any]:
    """The same transaction with one command per set, which libnftables reads faster."""
    elements: dict[tuple[str, str], list[Any]] = {}
    others, last = [], None
    for command in commands:
        body = command.get("add", {}).get("element")
        if body is not None:
            elements.setdefault((body["family"], body["name"]), []).extend(body["elem"])
        elif "flush" in command or command.get("add", {}).get("element", {}).get("name") == "generation":
            last = command
        else:
            others.append(command)
    generation = elements.pop(("inet", "generation"))
    tail = [last, element("add", "generation", [generation[-1]])] if last else []
    return others + [element("add", name, members, family) for (family, name), members in elements.items()] + tail


class Crowd(NameHost):
    """A host that can be given a crowd of agents and be rid of it."""

    def __init__(self) -> None:
        super().__init__(unlimited=True)

    def gather(self, agents: int, hosts: int) -> float:
        commands = crowd(agents, hosts, 1_000_000)
        start = time.perf_counter()
        self.firewall.apply(commands)
        return time.perf_counter() - start

    def scatter(self) -> None:
        """Remove the crowd's elements; the lab's own links stay."""
        for name in ("grants", "live", "agents", "sources", "resolvers", "budgets"):
            kept = [item for item in self.firewall.elements(name) if foreign(item)]
            if kept:
                self.firewall.apply([element("delete", name, [bare(item) for item in kept])])
        limits = [item["limit"]["name"] for item in self.firewall.objects() if "limit" in item]
        place = {"family": "inet", "table": "nullbox"}
        self.firewall.apply([{"delete": {"limit": {**place, "name": name}}} for name in limits])
        arp = [item for item in self.firewall.elements("sources", "arp") if foreign(item)]
        self.firewall.apply([element("delete", "sources", arp, "arp")])

    def processor(self) -> float:
        """Seconds of processor that this process has used."""
        return time.process_time()

    def change_grants(self, rounds: int) -> dict[str, list[float]]:
        """Grant a name to one agent among all, open an address for it, revoke it: seconds in the kernel for each."""
        one, two = parse_policy(["web.example.com"]), parse_policy(["web.example.com", "more.example.com"])
        times: dict[str, list[float]] = {}
        taken: list[tuple[float, float]] = []
        apply = self.firewall.apply

        def timed(commands: Any) -> None:
            start, begun = time.perf_counter(), time.process_time()
            apply(commands)
            taken.append((time.perf_counter() - start, time.process_time() - begun))

        def note(what: str) -> None:
            times.setdefault(what, []).append(sum(wall for wall, _ in taken))
            times.setdefault(f"{what}_cpu", []).append(sum(cpu for _, cpu in taken))
            taken.clear()

        self.firewall.apply = timed  # type: ignore[method-assign]
        for number in range(rounds):
            self.service.change_policy("agent1", two)
            note("grant")
            self.service.pin("agent1", "more.example.com", [f"45.99.{number >> 8}.{number & 255}"], 60)
            note("pin")
            self.service.change_policy("agent1", one)
            note("revoke")
        self.firewall.apply = apply  # type: ignore[method-assign]
        return times


def foreign(item: Any) -> bool:
    value = bare(item)
    value = value[0]["elem"]["val"] if isinstance(value, list) and isinstance(value[0], dict) else value
    value = value[0] if isinstance(value, list) else value
    tap = value["concat"][0] if isinstance(value, dict) else value
    return int(str(tap)[2:]) >= FIRST


def bare(item: Any) -> Any:
    """An element as one deletes it: no counter, comment or remaining time."""
    if isinstance(item, list):
        key = item[0]
        return [{"elem": {"val": key["elem"]["val"]}} if isinstance(key, dict) and "elem" in key else key, item[1]]
    return item["elem"]["val"] if isinstance(item, dict) and "elem" in item else item


def packets(count: int) -> float:
    """Seconds per small packet through the firewall, sender's side; forwarding happens within the call."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.connect((WEB, 9))
        payload, send = b"x" * 32, link.send
        start = time.perf_counter()
        for _ in range(count):
            try:
                send(payload)
            except OSError:
                continue
        return (time.perf_counter() - start) / count


def bulk(seconds: float) -> float:
    """Octets a second of one TCP flow."""
    with socket.create_connection((WEB, 443), 3) as flow:
        chunk, sent, end = b"x" * 65536, 0, time.perf_counter() + seconds
        start = time.perf_counter()
        while time.perf_counter() < end:
            sent += flow.send(chunk)
        return sent / (time.perf_counter() - start)


class Sink:
    """Takes TCP and UDP and answers nothing."""

    def __init__(self) -> None:
        import threading

        listener = socket.create_server(("0.0.0.0", 443))
        self._udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._udp.bind(("0.0.0.0", 9))
        threading.Thread(target=self._drain, args=(listener,), daemon=True).start()

    @staticmethod
    def _drain(listener: socket.socket) -> None:
        buffer = bytearray(1 << 20)
        while True:
            flow, _ = listener.accept()
            with flow:
                while flow.recv_into(buffer):
                    pass


def full_ruleset(agents: int, hosts: int) -> tuple[float, float]:
    """Load everything at once into an empty namespace: seconds, and growth of this process in MB."""
    firewall = KernelFirewall()
    commands = base_commands(Base(("up0",))) + crowd(agents, hosts, 1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    firewall.apply(commands)
    return time.perf_counter() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def sides(lab: Lab, agents: int, hosts: int, turns: int) -> dict[str, Any]:
    """Cost of a packet and speed of a flow, with one agent and with all, taking turns."""
    cost: dict[str, list[float]] = {"one": [], "all": []}
    speed: dict[str, list[float]] = {"one": [], "all": []}
    for _ in range(turns):
        for side in ("one", "all"):
            if side == "all":
                lab.host.call("gather", agents, hosts)
            for _ in range(4):
                cost[side].append(lab.inside("agent0", packets, 10_000))
                speed[side].append(lab.inside("agent0", bulk, 0.15))
            if side == "all":
                lab.host.call("scatter")
    best = {side: min(values) for side, values in cost.items()}
    most = {side: max(values) for side, values in speed.items()}
    return {
        **{f"packet_{side}_us": value * 1e6 for side, value in best.items()},
        "packet_cost_ratio": best["all"] / best["one"],
        **{f"throughput_{side}_mb_s": value / 1e6 for side, value in most.items()},
        "throughput_ratio": most["all"] / most["one"],
    }


def uncached(server: str, count: int) -> list[float]:
    """Seconds for each of so many names that nobody has asked for yet."""
    times = []
    for number in range(count):
        start = time.perf_counter()
        answer = lookup(server, f"n{time.monotonic_ns()}-{number}.fresh.example.com")
        times.append(time.perf_counter() - start)
        assert answer.values, answer
    return times


def names(lab: Lab) -> dict[str, Any]:
    gateway = Slot(1).gateway
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(5):
        ours += lab.inside("agent1", uncached, gateway, 60)
        theirs += lab.inside("internet", uncached, UPSTREAM, 60)
    found: dict[str, Any] = {
        "uncached_ms": statistics.median(ours) * 1e3,
        "upstream_ms": statistics.median(theirs) * 1e3,
        "added_latency_ms": (statistics.median(ours) - statistics.median(theirs)) * 1e3,
    }
    if shutil.which("dnsperf") is not None:
        with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
            file.write("web.example.com A\n")
            file.flush()
            begun = lab.host.call("processor")
            # Past 5,000 a second the kernel drops an agent's questions, and each of those would hold dnsperf up.
            command = ["dnsperf", "-s", gateway, "-d", file.name, "-l", "5", "-c", "4", "-Q", str(ASKED_PER_S)]
            said = lab.run("agent1", command).stdout
            used = lab.host.call("processor") - begun
        words = {line.partition(":")[0].strip(): line.partition(":")[2].split() for line in said.splitlines()}
        found["cached_answers_per_s"] = float(words["Queries per second"][0])
        found["cached_answers_per_cpu_s"] = int(words["Queries completed"][0]) / used
    return found


def p99(values: list[float]) -> float:
    return sorted(values)[int(len(values) * 0.99)] * 1e3


def measure(agents: int, hosts: int, rounds: int) -> dict[str, Any]:
    with Lab(agents=0) as lab:
        seconds, size = lab.inside("internet", full_ruleset, agents, hosts)
    found: dict[str, Any] = {"full_ruleset_s": seconds, "full_ruleset_mb": size}
    with Lab(host=Crowd) as lab:
        lab.host.call("prepare")
        lab.host.call("open_link", "agent0", parse_policy([], learn=True))
        lab.host.call("open_link", "agent1", parse_policy(["web.example.com", "*.fresh.example.com"]))
        lab.worker("internet", Sink)
        server = lab.worker("internet", NameServer)
        server.call("tell", {"web.example.com": Zone([WEB], 3600)})
        for number in range(2):
            assert lab.inside(f"agent{number}", lookup, Slot(number).gateway, "web.example.com").values == [WEB]
        found |= names(lab)
        found |= sides(lab, agents, hosts, rounds)
        lab.host.call("open_link", "agent1", parse_policy(["web.example.com"]))
        lab.host.call("gather", agents, hosts)
        times = lab.host.call("change_grants", 300)
        found |= {f"{what}_p99_ms": p99(values) for what, values in times.items()}
        found |= {f"{what}_median_ms": statistics.median(values) * 1e3 for what, values in times.items()}
    return found


def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--agents", type=int, default=1000)
    parser.add_argument("--hosts", type=int, default=20)
    options = parser.parse_args()
    if reason := netspace.missing():
        print(f"egress: not measured: {reason}")
        return 1
    return finish(MUST, measure(options.agents, options.hosts, 2 if options.quick else options.rounds), options.json)


if __name__ == "__main__":
    sys.exit(main())

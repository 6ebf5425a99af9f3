"""How each part's cost grows with its size: curves, so that a bend is seen before it is met.

    python -m bench.scaling [--quick] [--out build] [AREA …]

Each curve is the cost of one thing (an event, a message, an agent's rules, an answer, a page) at growing sizes, the
best of three takes, since noise only adds. A curve says how much more the largest size may cost than the smallest; more
is a bend, and is marked. Writes `scaling.json`, `scaling.md` and a chart per area. Needs root for the ruleset's curve,
which is taken in a network namespace of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "support"))

import netlab
import netspace
from hosted_system import Up
from supervision_core import Core, events_per_second

from bench import ctxgraph, egress
from bench.actors import unshared
from nullbox.actors.base import BaseActor
from nullbox.actors.system import start_system
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.reader import NEVER, Reader
from nullbox.egress.addresses import AddressRules
from nullbox.egress.dns.resolver import AgentResolver
from nullbox.egress.policy import parse_policy
from nullbox.host.hosted import cgroup_mount
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import Address, Phase, Query, Ready, Reply, Start
from nullbox.supervision import snapshot
from nullbox.supervision.spec import ChildSpec, OnLimit

TAKES = 3
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Curve:
    """The cost of one thing by size. allowed: how many times the smallest size's cost the largest may have."""

    area: str
    name: str
    size: str
    unit: str
    allowed: float
    points: dict[int, float] = field(default_factory=dict)

    @property
    def growth(self) -> float:
        sizes = sorted(self.points)
        return self.points[sizes[-1]] / self.points[sizes[0]]

    @property
    def bends(self) -> bool:
        return self.growth > self.allowed


def best(take: Callable[[], float]) -> float:
    return min(take() for _ in range(TAKES))


# --- supervision: the pure core, simulated children


def supervision(quick: bool) -> Iterable[Curve]:
    sizes = (1, 10, 100) if quick else (1, 10, 100, 1000)
    event = Curve("supervision", "one event: crash, backoff or ready", "children", "µs", 1.5)
    shown = Curve("supervision", "the tree as `nullctl tree` gets it, per child", "children", "µs", 2.0)
    for size in sizes:
        event.points[size] = 1e6 / events_per_second(size)
        core = Core(*(ChildSpec(f"c{n}", "a.b.C", on_limit=OnLimit.FAIL) for n in range(size))).up()

        def draw(core: Core = core, size: int = size) -> float:
            repeat = max(1, 2000 // size)
            began = time.process_time()
            for _ in range(repeat):
                snapshot.tree(core.state, core.now, pid=1, incarnation=1, since=0.0)
            return (time.process_time() - began) / repeat / size * 1e6

        shown.points[size] = best(draw)
    return event, shown


# --- actors: real processes


class Echo(BaseActor):
    def started(self, start: Start) -> None:
        self.ready()

    def on_reply(self, message: Reply, sender: Address) -> None:
        self.tell(sender, message)


class Hub(BaseActor):
    """Keeps one message under way with each of its children."""

    def started(self, start: Start) -> None:
        self.waiting = int(start.config["children"])
        self.began, self.trips = time.perf_counter(), 0
        self.until = math.inf
        self.others = [self.spawn(Echo, f"echo{n}") for n in range(self.waiting)]
        for number, child in enumerate(self.others):
            self.tell(child, Start(f"echo{number}", 1, {}, {}))

    def on_ready(self, message: Ready, sender: Address) -> None:
        self.waiting -= 1
        if self.waiting == 0:
            self.phase("made", seconds=time.perf_counter() - self.began, children=self.others)
            self.ready()

    def on_query(self, query: Query, sender: Address) -> None:
        self.began, self.trips = time.perf_counter(), 0
        self.until = self.began + float(query.params["seconds"])
        for child in self.others:
            self.tell(child, Reply(1, {"text": "x" * 180, "n": 7}))

    def on_reply(self, message: Reply, sender: Address) -> None:
        self.trips += 1
        now = time.perf_counter()
        if now < self.until:
            self.tell(sender, message)
        elif not math.isinf(self.until):
            self.until = math.inf
            self.phase("played", rate=self.trips / (now - self.began))


def hub(size: int, directory: Path, seconds: float) -> tuple[float, float, float]:
    """Microseconds of a round trip, milliseconds to make an actor, unshared MB of one."""
    system = start_system(directory)
    try:
        root = system.spawn_root(Hub, "hub")
        system.tell(root, Start("hub", 1, {"children": size}, {}))

        def phase(word: str) -> dict[str, Any]:
            while (came := system.receive(120)) is not None:
                if isinstance(came[0], Phase) and came[0].phase == word:
                    return dict(came[0].detail)
            raise TimeoutError(word)

        made = phase("made")
        rates = []
        for _ in range(TAKES):
            system.tell(root, Query(1, "play", {"seconds": seconds}))
            rates.append(float(phase("played")["rate"]))
        memory = sorted(unshared(int(child.name.split(".")[1])) for child in made["children"])
        return 1e6 / max(rates), made["seconds"] / size * 1e3, memory[len(memory) // 2]
    finally:
        system.shutdown()


def actors(quick: bool) -> Iterable[Curve]:
    trip = Curve("actors", "a round trip of 200 bytes, with each actor in turn", "actors", "µs", 1.5)
    made = Curve("actors", "making an actor until it is ready", "actors", "ms", 1.5)
    memory = Curve("actors", "unshared memory of an actor", "actors", "MB", 1.2)
    for size in (1, 4, 16) if quick else (1, 4, 16, 64):
        with tempfile.TemporaryDirectory(prefix="nullbox-scaling-") as name:
            trip.points[size], made.points[size], memory.points[size] = hub(size, Path(name) / "s", 0.5)
    return trip, made, memory


# --- the whole system, with agents as processes


def live(count: int) -> tuple[float, float]:
    """An instance of `nullbox up` with so many idle agents: seconds until all of them run, MB of it all (Pss)."""
    with tempfile.TemporaryDirectory(prefix="nbup") as name:
        agents = Path(name) / "agents"
        for number in range(count):
            home = agents / f"idle{number}"
            home.mkdir(parents=True)
            (home / "AGENT.toml").write_text(
                f'[agent]\nname = "idle{number}"\nruntime = "python"\n[capabilities]\nmax_memory_mb = 64\n'
            )
            (home / "main.py").write_text("import signal\nsignal.pause()\n")
        agents.mkdir(exist_ok=True)
        began = time.monotonic()
        up = Up(Path(name), agents)
        try:
            up.ready(300.0)
            return time.monotonic() - began, sum(pss(pid) for pid in (up.first, *descendants(up.first)))
        finally:
            up.close()


def descendants(pid: int) -> list[int]:
    children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return [*children, *(further for child in children for further in descendants(child))]


def pss(pid: int) -> float:
    """MB of memory that a process has, what it shares divided among those who share it (proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def system(quick: bool) -> Iterable[Curve]:
    started = Curve("system", "boot: from start to running, per agent beyond the bare tree", "agents", "s", 1.5)
    memory = Curve("system", "memory of one agent: its cage, its watcher, itself", "agents", "MB", 1.2)
    if cgroup_mount(Path("/proc/self/mountinfo").read_text()) is None or os.geteuid() != 0:
        return ()
    bare_seconds, bare_memory = live(0)
    print(f"the bare tree: {bare_seconds:.1f} s, {bare_memory:.0f} MB")
    for size in (4, 8) if quick else (4, 16, 64):
        seconds, used = live(size)
        started.points[size] = (seconds - bare_seconds) / size
        memory.points[size] = (used - bare_memory) / size
    return started, memory


# --- egress: the ruleset in the kernel, the resolver


def ruleset(quick: bool) -> Iterable[Curve]:
    loaded = Curve("ruleset", "loading one agent's rules, 20 hosts, with all others", "agents", "ms", 1.5)
    if netspace.missing():
        return ()
    for size in (10, 100) if quick else (10, 100, 300, 1000):
        with netlab.Lab(agents=0) as lab:
            loaded.points[size] = lab.inside("internet", egress.full_ruleset, size, 20)[0] / size * 1e3
    return (loaded,)


def question(name: str) -> bytes:
    """A DNS question for an A record (RFC 1035, 4.1)."""
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    return struct.pack("!6H", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", 1, 1)


def dns(quick: bool) -> Iterable[Curve]:
    from nullbox.egress.dns.wire import Query as Question

    cached = Curve("dns", "a cached answer", "granted hosts", "µs", 2.0)
    refused = Curve("dns", "a refusal of an unlisted name", "granted hosts", "µs", 8.0)
    ahead = 0.0
    for size in (1, 16) if quick else (1, 16, 256):
        grants = parse_policy([f"h{n}.example.com" for n in range(size)]).allow
        resolver = AgentResolver(
            grants,
            AddressRules(),
            ask=answer_with,
            pin=lambda name, addresses, seconds: None,
            report=lambda kind, name, address, detail: None,
            clock=lambda: time.monotonic() + ahead,
        )
        asked = [question(f"h{n}.example.com") for n in range(size)]

        async def warm(resolver: AgentResolver = resolver, asked: list[bytes] = asked) -> None:
            nonlocal ahead
            for data in asked:
                ahead += 0.1  # an agent may have 20 new names a second
                found = resolver.at_once(data, udp=True)
                if isinstance(found, Question):
                    await resolver.later(found, udp=True)

        asyncio.run(warm())
        cached.points[size] = best(lambda r=resolver, a=asked: per_question(r, a))  # type: ignore[misc]
        refused.points[size] = best(lambda r=resolver: per_question(r, [question("other.example.org")]))  # type: ignore[misc]
    return cached, refused


async def answer_with(name: str) -> Any:
    """What a resolver upstream would say: one address, for an hour."""
    from nullbox.egress.dns.wire import parse_upstream

    head = struct.pack("!6H", 7, 0x8180, 1, 1, 0, 0)
    record = b"\xc0\x0c" + struct.pack("!2HIH", 1, 1, 3600, 4) + bytes((45, 1, 2, 3))
    return parse_upstream(head + question(name)[12:] + record, 7, name)


def per_question(resolver: AgentResolver, asked: list[bytes], count: int = 5000) -> float:
    began = time.process_time()
    for number in range(count):
        assert isinstance(resolver.at_once(asked[number % len(asked)], udp=True), bytes)
    return (time.process_time() - began) / count * 1e6


# --- ctxgraph


def store(quick: bool) -> Iterable[Curve]:
    written = Curve("ctxgraph", "writing an entry, in groups of 64, without syncing", "entries", "µs", 2.0)
    page = Curve("ctxgraph", "the newest 100 of a prefix", "entries", "ms", 1.5)
    old = Curve("ctxgraph", "a page of 100 from the middle", "entries", "ms", 1.5)
    for size in (4_000, 16_000) if quick else (4_000, 32_000, 250_000, 1_000_000):
        with tempfile.TemporaryDirectory(prefix="nullbox-scaling-") as name:
            layout = Layout(run=Path(name) / "r", state=Path(name) / "s")
            began = time.process_time()
            ctxgraph.fill(layout.ctx_store, size)
            written.points[size] = (time.process_time() - began) / size * 1e6
            reader = Reader(layout.ctx_store)
            page.points[size] = best(lambda r=reader: pages(r, Window(0, NEVER, newest_first=True)))  # type: ignore[misc]
            old.points[size] = best(lambda r=reader, s=size: pages(r, Window(s // 2, NEVER)))  # type: ignore[misc]
            reader.close()
    return written, page, old


def pages(reader: Reader, window: Window, count: int = 50) -> float:
    began = time.process_time()
    for _ in range(count):
        assert len(reader.query(["p1."], window, 100).entries) == 100
    return (time.process_time() - began) / count * 1e3


AREAS: dict[str, Callable[[bool], Iterable[Curve]]] = {
    "supervision": supervision,
    "actors": actors,
    "system": system,
    "ruleset": ruleset,
    "dns": dns,
    "ctxgraph": store,
}


# --- the report


def markdown(curves: list[Curve]) -> str:
    """A table per curve, its chart, and whether it bends."""
    lines = ["# Scaling", ""]
    for area in dict.fromkeys(curve.area for curve in curves):
        lines += [f"## {area}", "", f"![{area}](scaling-{area}.svg)", ""]
        for curve in (curve for curve in curves if curve.area == area):
            sizes = sorted(curve.points)
            lines += [f"{curve.name}, by {curve.size}:", ""]
            lines += ["| " + " | ".join(f"{size:,}" for size in sizes) + " | growth | allowed | |"]
            lines += ["| " + "---: | " * (len(sizes) + 2) + "--- |"]
            values = " | ".join(f"{curve.points[size]:.3g} {curve.unit}" for size in sizes)
            verdict = "**bends**" if curve.bends else "flat"
            lines += [f"| {values} | {curve.growth:.2f} | {curve.allowed:g} | {verdict} |", ""]
    return "\n".join(lines)


def chart(area: str, curves: list[Curve], path: Path) -> None:
    """One area, both axes logarithmic, so that a cost that grows with size is a slope."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "nullbox"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7.5, 3.6), layout="constrained")
    for curve in curves:
        sizes = sorted(curve.points)
        axes.plot(sizes, [curve.points[size] for size in sizes], marker="o", label=f"{curve.name} ({curve.unit})")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel(curves[0].size)
    axes.set_title(area)
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8)
    figure.savefig(path, format="svg", metadata={"Date": None})
    pyplot.close(figure)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller sizes")
    parser.add_argument("--out", type=Path, default=ROOT / "build", help="folder for the results")
    parser.add_argument("areas", nargs="*", metavar="AREA", help=f"some of {', '.join(AREAS)}; all by default")
    options = parser.parse_args()
    if unknown := sorted(set(options.areas) - set(AREAS)):
        parser.error(f"no area {unknown[0]}; there are {', '.join(AREAS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    curves: list[Curve] = []
    for area in options.areas or AREAS:
        print(f"=== {area}", flush=True)
        found = list(AREAS[area](options.quick))
        for curve in found:
            values = ", ".join(f"{size:,}: {value:.3g}" for size, value in sorted(curve.points.items()))
            print(f"{curve.name} ({curve.unit}): {values}; growth {curve.growth:.2f}{' BENDS' if curve.bends else ''}")
        curves += found
        if found:
            chart(area, found, options.out / f"scaling-{area}.svg")
    (options.out / "scaling.json").write_text(json.dumps([asdict(curve) for curve in curves], indent=1) + "\n")
    (options.out / "scaling.md").write_text(markdown(curves))
    return 1 if any(curve.bends for curve in curves) else 0


if __name__ == "__main__":
    sys.exit(main())

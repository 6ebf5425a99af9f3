"""The actor runtime beside its baselines, in one run: stock Thespian over TCP, and two bare processes.

    python -m bench.actors [--quick] [--rounds 7] [--kills 200] [--json FILE]

Round trips of a 200-byte message between two actors, encoding and decoding included; the bare processes send the
same bytes over the same socket type and neither encode nor decode. Machines drift, so the sides take turns and the
median of each counts. The two processes of every side run on the same two processors: left to itself, the
scheduler puts them on one or on two as it likes, which alone changes the bare figure eightfold.

Stock TCP listens on every address of the machine and runs what anybody sends it, so this whole program runs in a
network namespace of its own, which has only a loopback device.
"""

from __future__ import annotations

import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["THESPLOG_FILE_MAXSIZE"] = "0"

from thespian.actors import Actor, ActorSystem

from bench.command import argument_parser, finish
from nullbox.actors.base import BaseActor
from nullbox.actors.system import System, start_system
from nullbox.protocols import codec
from nullbox.protocols.messages import Address, ExitReason, Phase, Ping, Query, Ready, Reply, Start

MUST = {
    "ratio_to_stock_tcp": (">=", 4.0, ""),
    "ratio_to_bare_processes": (">=", 0.5, ""),
    "unshared_mb_per_actor": ("<=", 4.0, "MB"),
    "creation_ms": ("<=", 6.0, "ms"),
    "kill_notice_p99_ms": ("<=", 10.0, "ms"),
}
TEXT = "x" * 180
MESSAGE = Reply(1, {"text": TEXT, "n": 7})
"""200 bytes when encoded."""
assert len(codec.encode(MESSAGE)) == 200, len(codec.encode(MESSAGE))


CPUS = sorted(os.sched_getaffinity(0))


def on_cpu(number: int) -> None:
    """Run this process on the first or the second processor, where there are two."""
    os.sched_setaffinity(0, {CPUS[number % len(CPUS)]})


def on_any_cpu() -> None:
    os.sched_setaffinity(0, CPUS)


# --- ours ---------------------------------------------------------------------------------------------------


class Echo(BaseActor):
    def started(self, start: Start) -> None:
        if start.config:
            on_cpu(start.config["cpu"])
        self.ready()

    def on_reply(self, message: Reply, sender: Address) -> None:
        self.tell(sender, message)


class Root(BaseActor):
    """Plays with one child, makes and kills others, and measures itself."""

    def started(self, start: Start) -> None:
        self.echo = self.spawn(Echo, "echo")
        self.tell(self.echo, Start("echo", 1, {"cpu": 1}, {}))
        self.begun: dict[Address, float] = {}
        self.killed = 0.0
        self.samples: list[float] = []
        self.mode = ""

    def on_ready(self, message: Ready, sender: Address) -> None:
        now = time.perf_counter()
        if sender == self.echo:
            self.ready()
        elif self.mode == "create":
            self.samples.append(now - self.begun[sender])
            self.next_child() if len(self.samples) < self.count else self.done()
        elif self.mode == "kill":
            self.killed = time.perf_counter()
            self.kill(sender)

    def on_query(self, query: Query, sender: Address) -> None:
        self.mode, self.samples, self.trips = query.verb, [], 0
        self.count = int(query.params.get("count", 0))
        on_any_cpu()
        if query.verb == "play":
            on_cpu(0)
            self.until = time.perf_counter() + query.params["seconds"]
            self.began = time.perf_counter()
            self.tell(self.echo, MESSAGE)
        else:
            self.next_child()

    def on_reply(self, message: Reply, sender: Address) -> None:
        self.trips += 1
        if time.perf_counter() < self.until:
            self.tell(self.echo, message)
        else:
            self.phase("played", rate=self.trips / (time.perf_counter() - self.began))

    def next_child(self) -> None:
        began = time.perf_counter()
        child = self.spawn(Echo, "child")
        self.begun[child] = began
        self.tell(child, Start("child", 1, {}, {}))

    def child_exited(self, address: Address, reason: ExitReason) -> None:
        if self.mode == "kill":
            self.samples.append(time.perf_counter() - self.killed)
            self.next_child() if len(self.samples) < self.count else self.done()

    def done(self) -> None:
        self.phase("done", samples=self.samples, children=[*self.begun])


class Ours:
    def __init__(self, directory: Path) -> None:
        self.system: System = start_system(directory)
        self.root = self.system.spawn_root(Root, "root")
        self.system.tell(self.root, Start("root", 1, {}, {}))
        self.expect(Ready)

    def expect(self, kind: type, seconds: float = 60) -> Any:
        while (came := self.system.receive(seconds)) is not None:
            if isinstance(came[0], kind):
                return came[0]
        raise TimeoutError(kind.__name__)

    def rate(self, seconds: float) -> float:
        self.system.tell(self.root, Query(1, "play", {"seconds": seconds}))
        rate: float = self.expect(Phase).detail["rate"]
        return rate

    def create(self, count: int) -> tuple[float, float]:
        """Seconds to create an actor (until it says that it is ready; median), and unshared MB of one (median)."""
        self.system.tell(self.root, Query(2, "create", {"count": count}))
        found = self.expect(Phase).detail
        pids = [int(address.name.split(".")[1]) for address in found["children"]]
        for address in found["children"]:
            self.system.ask(address, Ping(1), 10)
        return statistics.median(found["samples"]), statistics.median(unshared(pid) for pid in pids)

    def kill_notices(self, count: int) -> list[float]:
        self.system.tell(self.root, Query(3, "kill", {"count": count}))
        samples: list[float] = self.expect(Phase, 120).detail["samples"]
        return samples


def unshared(pid: int) -> float:
    """MB of memory that only this process has (proc_pid_smaps(5))."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) / 1024


# --- stock Thespian over TCP --------------------------------------------------------------------------------


class StockEcho(Actor):  # type: ignore[misc]
    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, Reply):
            self.send(sender, message)
        elif message == "cpu":
            on_cpu(1)
            self.send(sender, message)


class StockPlayer(Actor):  # type: ignore[misc]
    def receiveMessage(self, message: Any, sender: Any) -> None:
        if isinstance(message, tuple):
            on_cpu(0)
            self.asker, self.until, self.trips = sender, time.perf_counter() + message[1], 0
            self.began = time.perf_counter()
            self.send(message[0], MESSAGE)
        elif isinstance(message, Reply):
            self.trips += 1
            if time.perf_counter() < self.until:
                self.send(sender, message)
            else:
                self.send(self.asker, self.trips / (time.perf_counter() - self.began))


class Stock:
    def __init__(self) -> None:
        self.system = ActorSystem("multiprocTCPBase", {"Admin Port": 19_100}, logDefs={"version": 1})
        self.player, self.echo = self.system.createActor(StockPlayer), self.system.createActor(StockEcho)

        self.system.ask(self.echo, "cpu", 10)

    def rate(self, seconds: float) -> float:
        rate: float = self.system.ask(self.player, (self.echo, seconds), seconds + 30)
        return rate


# --- two bare processes -------------------------------------------------------------------------------------


class Bare:
    """Two Python processes, one SOCK_SEQPACKET pair, 200 bytes there and back."""

    def __init__(self) -> None:
        self.mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.pid = os.fork()
        if self.pid == 0:
            self.mine.close()
            on_cpu(1)
            while data := theirs.recv(4096):
                theirs.send(data)
            os._exit(0)
        theirs.close()

    def rate(self, seconds: float) -> float:
        data = codec.encode(MESSAGE)
        on_cpu(0)
        trips, began = 0, time.perf_counter()
        until = began + seconds
        while time.perf_counter() < until:
            self.mine.send(data)
            self.mine.recv(4096)
            trips += 1
        on_any_cpu()
        return trips / (time.perf_counter() - began)

    def close(self) -> None:
        self.mine.close()
        os.waitpid(self.pid, 0)


# --- the run ------------------------------------------------------------------------------------------------


def measure(seconds: float, rounds: int, kills: int, directory: Path) -> dict[str, float | list[float]]:
    bare, ours, stock = Bare(), Ours(directory), Stock()
    try:
        sides: dict[str, Callable[[float], float]] = {"bare": bare.rate, "ours": ours.rate, "stock": stock.rate}
        for rate in sides.values():
            rate(0.2)  # warm up
        rates: dict[str, list[float]] = {name: [] for name in sides}
        for _ in range(rounds):
            for name, rate in sides.items():
                rates[name].append(rate(seconds))
        creation, memory = ours.create(20)
        notices = sorted(ours.kill_notices(kills))
    finally:
        stock.system.shutdown()
        ours.system.shutdown()
        bare.close()
    return {
        "round_trips_bare": rates["bare"],
        "round_trips_ours": rates["ours"],
        "round_trips_stock_tcp": rates["stock"],
        "ratio_to_stock_tcp": [ours / stock for ours, stock in zip(rates["ours"], rates["stock"], strict=True)],
        "ratio_to_bare_processes": [ours / bare for ours, bare in zip(rates["ours"], rates["bare"], strict=True)],
        "creation_ms": creation * 1000,
        "unshared_mb_per_actor": memory,
        "kill_notice_median_ms": statistics.median(notices) * 1000,
        "kill_notice_p99_ms": notices[int(len(notices) * 0.99)] * 1000,
    }


def enter_network_namespace() -> None:
    """Run again where there is nothing but a loopback device; without root, in a user namespace too."""
    if os.environ.get("NULLBOX_BENCH_ALONE") != "1":
        environment = {**os.environ, "NULLBOX_BENCH_ALONE": "1"}
        flags = "-n" if os.geteuid() == 0 else "-rn"
        os.execvpe("unshare", ["unshare", flags, sys.executable, "-m", "bench.actors", *sys.argv[1:]], environment)
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def main() -> int:
    parser = argument_parser("The actor runtime beside its baselines.")
    parser.add_argument("--kills", type=int, default=200)
    options = parser.parse_args()
    enter_network_namespace()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # sockets live in memory, as below /run
    seconds = 0.3 if options.quick else 1.0
    with tempfile.TemporaryDirectory(prefix="nullbox-bench-", dir=memory) as name:
        found = measure(seconds, options.rounds, options.kills, Path(name) / "sockets")
    return finish(MUST, found, options.json)


if __name__ == "__main__":
    sys.exit(main())

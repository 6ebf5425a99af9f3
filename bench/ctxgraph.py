"""ctxgraph beside bare sqlite3, in one run: the same rows, the same pragmas, the same disk, turn by turn.

    python -m bench.ctxgraph [--quick] [--seconds 1] [--rounds 7] [--entries 1000000] [--folder DIR] [--json FILE]

The bare side inserts ready-made rows (addresses, tree and quotas computed before) into the same tables; the service
side does all that a write needs: parse, check, canonicalise, hash, tree, quotas, group, sync, answer, over a Unix
socket from another process. Disks drift, so the two take turns and the medians of the ratios count.

`writes_16`: 16 clients with 4 writes under way each, so that both sides can fill groups of 64. `writes_16_waiting`:
with one each. At most 16 writes share a sync then, where the bare side has 64: on a disk whose sync takes longer than
all the rest the ratio cannot be above a quarter, whatever the service does. `writes_1`: one client, one write.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.command import argument_parser, finish
from nullbox.ctxgraph import schema
from nullbox.ctxgraph.batch import Ack, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import entry_hash
from nullbox.ctxgraph.merkle import Frontier, leaf_data, leaf_hash
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.quota import Usage, charge
from nullbox.ctxgraph.reader import NEVER, Reader
from nullbox.ctxgraph.store import PRAGMAS, Store
from nullbox.protocols.layout import Layout

CLIENTS = 16
MUST = {
    "writes_16_ratio": (">=", 0.40, ""),
    "writes_1_ratio": (">=", 0.80, ""),
    "reads_per_s": (">=", 8000, "/s"),
    "read_p99_ms": ("<=", 5.0, "ms"),
    "query_ratio": ("<=", 1.5, ""),
    "watch_ms": ("<=", 20.0, "ms"),
    "memory_mb": ("<=", 60.0, "MB"),
}


def value(n: int) -> dict[str, Any]:
    return {"n": n, "text": "some words that an agent wrote", "ok": True}


# --- the bare side ------------------------------------------------------------------------------------------


class Bare:
    """sqlite3 with the schema and pragmas of the store, and rows that only need inserting: all that the service inserts
    for the same writes, made beforehand. (But for the full-text index, which the service fills behind its log.)"""

    def __init__(self, path: Path) -> None:
        self.connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        for pragma in PRAGMAS:
            self.connection.execute(f"PRAGMA {pragma}")
        schema.create(self.connection)
        self.frontier = Frontier()
        self.usage = {f"agent{n}": Usage() for n in range(CLIENTS)}

    def group(self, count: int) -> list[tuple[str, list[tuple[Any, ...]]]]:
        """Statements and their rows for so many writes."""
        objects, log, agents = [], [], set()
        for _ in range(count):
            seq, now = self.frontier.size + 1, time.time_ns()
            agent, key = f"agent{seq % CLIENTS}", f"bench.k{seq % 100}"
            text = canonical(value(seq))
            address = entry_hash(agent, key, text)
            objects.append((seq, address, text.decode()))
            log.append((seq, now, 0, agent, key, seq, 0))
            self.frontier.append(leaf_hash(leaf_data(0, seq, now, 0, address, agent, key)))
            self.usage[agent] = self.usage[agent].plus(charge(agent, key, text))
            agents.add(agent)
        tiles = list(self.frontier.tiles)
        self.frontier.tiles.clear()
        return [
            ("INSERT INTO objects (seq, hash, value) VALUES (?, ?, ?)", objects),
            ("INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", log),
            ("INSERT INTO tiles VALUES (?, ?, ?)", tiles),
            ("INSERT OR REPLACE INTO usage VALUES (?, ?, ?)", [(agent, *self.usage[agent]) for agent in agents]),
            ("UPDATE state SET size = ?, root = ?", [(self.frontier.size, self.frontier.root())]),
        ]

    def run(self, group: int, seconds: float) -> float:
        """Writes a second, in groups; making the rows is not counted."""
        done, busy = 0, 0.0
        execute, many = self.connection.execute, self.connection.executemany
        while busy < seconds:
            statements = self.group(group)
            started = time.perf_counter()
            execute("BEGIN IMMEDIATE")
            for sql, rows in statements:
                if rows:
                    many(sql, rows)
            execute("COMMIT")
            busy += time.perf_counter() - started
            done += group
        return done / busy


# --- the service side ---------------------------------------------------------------------------------------

SERVE = """
import sys, threading
from pathlib import Path
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.protocols.layout import Layout
service = CtxgraphService()
service.start(Layout(run=Path(sys.argv[1]), state=Path(sys.argv[2])), limits=lambda agent: None)
for n in range(int(sys.argv[3])):
    service.open_channel(f"agent{n}", [""], [""])
print("ready", flush=True)
sys.stdin.read()
service.stop()
"""


class Service:
    """ctxgraph in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.layout = Layout(run=folder / "r", state=folder / "s")
        command = [sys.executable, "-c", SERVE, str(self.layout.run), str(self.layout.state), str(CLIENTS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def connect(self, n: int) -> socket.socket:
        made = socket.socket(socket.AF_UNIX)
        made.connect(str(self.layout.ctx_socket(f"agent{n}")))
        return made

    def memory_mb(self) -> dict[str, float]:
        text = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text()
        fields = {line.split()[0]: int(line.split()[1]) for line in text.splitlines()[1:]}
        return {"rss": fields["Rss:"] / 1024, "pss": fields["Pss:"] / 1024}

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(30)


def request(method: str, params: dict[str, Any], n: int) -> bytes:
    message = {"jsonrpc": "2.0", "id": n, "method": method, "params": params}
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def load(sockets: list[socket.socket], lines: Iterator[bytes], depth: int, seconds: float) -> float:
    """Keep `depth` requests under way on every socket; answers a second."""
    selector = selectors.DefaultSelector()
    flying = {}
    for each in sockets:
        each.setblocking(True)
        selector.register(each, selectors.EVENT_READ)
        each.sendall(b"".join(next(lines) for _ in range(depth)))
        flying[each] = depth
    done, started = 0, time.perf_counter()
    end = started + seconds
    while True:
        now = time.perf_counter()
        if now >= end:
            break
        for key, _ in selector.select(end - now):
            each: Any = key.fileobj
            data = each.recv(1 << 16)
            if b'"error"' in data:
                raise RuntimeError(data[:500])
            count = data.count(b"\n")
            done += count
            each.sendall(b"".join(next(lines) for _ in range(count)))
    took = time.perf_counter() - started
    for each in sockets:
        left = flying[each]
        while left:
            left -= each.recv(1 << 16).count(b"\n")
    selector.close()
    return done / took


def one_by_one(client: socket.socket, lines: Iterator[bytes], seconds: float) -> float:
    """Answers a second with one request under way, made beforehand: the service is measured, not this client."""
    ready = [next(lines) for _ in range(int(5000 * seconds))]
    started = time.perf_counter()
    end = started + seconds
    for done, line in enumerate(ready):
        if time.perf_counter() >= end:
            return done / (time.perf_counter() - started)
        client.sendall(line)
        answer = client.recv(1 << 16)
        if b'"error"' in answer:
            raise RuntimeError(answer[:500])
    return len(ready) / (time.perf_counter() - started)


def writes(counter: list[int]) -> Iterator[bytes]:
    while True:
        counter[0] += 1
        n = counter[0]
        yield request("write", {"key": f"bench.k{n % 100}", "value": value(n)}, n)


def reads(addresses: list[str]) -> Iterator[bytes]:
    lines = [request("read", {"hash": address}, n) for n, address in enumerate(addresses)]
    while True:
        yield from lines


def bench_writes(folder: Path, seconds: float, rounds: int) -> dict[str, Any]:
    bare = Bare(folder / "bare.sqlite")
    service = Service(folder)
    sockets = [service.connect(n) for n in range(CLIENTS)]
    lines = writes([0])
    load(sockets[:1], lines, 1, 0.3)
    found: dict[str, list[float]] = {name: [] for name in ("bare_1", "one", "bare_64", "waiting", "piped")}
    for _ in range(rounds):
        found["bare_1"].append(bare.run(1, seconds))
        found["one"].append(one_by_one(sockets[0], lines, seconds))
        found["bare_64"].append(bare.run(64, seconds))
        found["waiting"].append(load(sockets, lines, 1, seconds))
        found["piped"].append(load(sockets, lines, 4, seconds))
    result: dict[str, Any] = {f"writes_{name}_per_s": values for name, values in found.items()}
    pairs = (("1", "one", "bare_1"), ("16", "piped", "bare_64"), ("16_waiting", "waiting", "bare_64"))
    for name, ours, theirs in pairs:
        result[f"writes_{name}_ratio"] = [a / b for a, b in zip(found[ours], found[theirs], strict=True)]
    result |= bench_reads(service, sockets, lines, seconds)
    result["watch_ms"] = bench_watch(service)
    service.stop()
    return result


def bench_reads(
    service: Service, sockets: list[socket.socket], lines: Iterator[bytes], seconds: float
) -> dict[str, float]:
    reader = Reader(service.layout.ctx_store)
    addresses = [e.hash.hex() for e in reader.query([""], Window(0, NEVER), 1000).entries]
    reader.close()
    client = service.connect(0)
    rate = load([client], reads(addresses), 32, seconds)
    writer = subprocess.Popen(
        [sys.executable, "-m", "bench.ctxgraph", "--load", str(service.layout.run), "--seconds", str(seconds + 1)],
        stdout=subprocess.PIPE,
    )
    assert writer.stdout is not None
    writer.stdout.readline()
    times = []
    end = time.perf_counter() + seconds
    for n, line in enumerate(reads(addresses)):
        started = time.perf_counter()
        client.sendall(line)
        client.recv(1 << 16)
        times.append(time.perf_counter() - started)
        if times[-1] + started > end or n > 100_000:
            break
    writer.wait(30)
    ordered = sorted(times)
    return {
        "reads_per_s": rate,
        "read_p50_ms": ordered[len(ordered) // 2] * 1e3,
        "read_p99_ms": ordered[len(ordered) * 99 // 100] * 1e3,
    }


def bench_watch(service: Service) -> float:
    """Median milliseconds from the acknowledgement to the watcher."""
    writer, watcher = service.connect(0), service.connect(1)
    watcher.sendall(request("watch", {"prefix": "w."}, 1))
    watcher.recv(1 << 16)
    delays = []
    for n in range(200):
        writer.sendall(request("write", {"key": "w.k", "value": n}, n))
        writer.recv(1 << 16)
        acknowledged = time.perf_counter()
        watcher.recv(1 << 16)
        delays.append((time.perf_counter() - acknowledged) * 1e3)
    return statistics.median(delays)


def fill(path: Path, entries: int) -> None:
    store = Store(path, limits=lambda agent: None)
    store._connection.execute("PRAGMA synchronous = OFF")
    n = 0
    while n < entries:
        ops = []
        for _ in range(min(64, entries - n)):
            n += 1
            agent, key = f"agent{n % CLIENTS}", f"p{n % 10}.k{n % 1000}" if n % 2 else f"p{n % 10}.{n}"
            text = canonical(value(n))
            ops.append(Write(agent, key, entry_hash(agent, key, text), text))
        assert all(isinstance(ack, Ack) for ack in store.apply(ops))
    store.close()


QUERIES = {
    "head": {"prefix": "p1."},
    "middle": {"prefix": "p1.", "after": 500},
    "tail": {"prefix": "p1.", "order": "desc"},
}


def ask(client: socket.socket, params: dict[str, Any]) -> float:
    """Milliseconds for a page of 100."""
    started = time.perf_counter()
    client.sendall(request("query", {**params, "limit": 100}, 1))
    data = b""
    while not data.endswith(b"\n"):
        data += client.recv(1 << 20)
    assert b'"entries"' in data, data[:300]
    return (time.perf_counter() - started) * 1e3


def bench_million(folder: Path, entries: int) -> dict[str, Any]:
    """The same queries in a small and a large store, turn by turn; then memory, after some writes."""
    sizes = (2000, entries)
    services, filled = [], 0.0
    for size in sizes:
        place = folder / str(size)
        started = time.perf_counter()
        fill(Layout(run=place / "r", state=place / "s").ctx_store, size)
        filled = time.perf_counter() - started
        services.append(Service(place))
    clients = [service.connect(0) for service in services]
    took: dict[str, list[list[float]]] = {name: [[], []] for name in QUERIES}
    for _ in range(100):
        for name, params in QUERIES.items():
            after = {"after": entries // 2} if "after" in params else {}
            took[name][0].append(ask(clients[0], params))
            took[name][1].append(ask(clients[1], {**params, **after}))
    medians = {name: [statistics.median(times) for times in pair] for name, pair in took.items()}
    load([clients[1]], writes([10**7]), 8, 2.0)
    memory = [service.memory_mb() for service in services]
    for client, service in zip(clients, services, strict=True):
        client.close()
        service.stop()
    return {
        "entries": entries,
        "fill_per_s": entries / filled,
        "query_ratio": max(large / small for small, large in medians.values()),
        **{f"query_{name}_ms": large for name, (_, large) in medians.items()},
        "memory_small_mb": memory[0]["rss"],
        "memory_mb": memory[1]["rss"],
    }


def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--seconds", type=float, help="of one measurement of one side; 1, quick 0.5")
    parser.add_argument("--entries", type=int, help="in the large store; 1,000,000, quick 100,000")
    parser.add_argument("--folder", type=Path, help="on the file system to measure")
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    seconds = arguments.seconds or (0.5 if arguments.quick else 1.0)
    if arguments.load:
        load_for(arguments.load, seconds)
        return 0
    with tempfile.TemporaryDirectory(dir=arguments.folder, prefix="ctxgraph-bench-") as name:
        result = bench_writes(Path(name), seconds, arguments.rounds)
        result |= bench_million(Path(name), arguments.entries or (100_000 if arguments.quick else 1_000_000))
    return finish(MUST, result, arguments.json)


def load_for(run: Path, seconds: float) -> None:
    """16 clients that write as fast as they get answers, in a process of their own."""
    layout = Layout(run=run)
    sockets = []
    for n in range(CLIENTS):
        sockets.append(socket.socket(socket.AF_UNIX))
        sockets[-1].connect(str(layout.ctx_socket(f"agent{n}")))
    print("loading", flush=True)
    load(sockets, writes([10**6]), 1, seconds)


if __name__ == "__main__":
    sys.exit(main())

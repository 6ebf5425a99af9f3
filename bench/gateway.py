"""The gateway beside its baselines, in one run: a bare asyncio line server, and an empty click program.

    python -m bench.gateway [--quick] [--rounds 7] [--json FILE]

Two kinds of load, from a process of its own: 200 clients that together offer 5,000 requests a second, where the
waiting counts from the moment a request was due; and 200 clients that ask as fast as they get answers, for the most
there is. The bare server reads a line, parses it, and answers with the same line each time: the price of Python's
sockets and JSON alone. Machines drift, so the sides take turns and the median of each counts.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench.command import argument_parser, finish
from nullbox.gateway.memory import MemoryBackend
from nullbox.gateway.service import GatewayService
from nullbox.protocols.layout import Layout

MUST = {
    "version_ms": ("<=", 120.0, "ms"),
    "status_to_version": ("<=", 2.5, ""),
    "offered_p99_ms": ("<=", 50.0, "ms"),
    "offered_per_s": (">=", 4_900.0, "/s"),
    "most_per_s": (">=", 5_000.0, "/s"),
    "most_to_bare": (">=", 0.4, ""),
}
CLIENTS = 200
OFFERED = 5_000
REQUEST = b'{"jsonrpc":"2.0","method":"version","id":1}\n'


# --- servers, each in a process of its own ------------------------------------------------------------------


def serve_gateway(folder: Path) -> None:
    layout = Layout(folder, folder / "var", folder / "system")
    service = GatewayService(MemoryBackend(), layout, {"operators": {"uids": [os.getuid()]}})
    service.start()
    print("ready", flush=True)
    sys.stdin.read()
    service.stop()


def serve_bare(folder: Path) -> None:
    answer = json.dumps({"jsonrpc": "2.0", "result": {"version": "0.1.0", "protocol": 1, "kernel": "x"}, "id": 1})

    class Bare(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport

        def data_received(self, data: bytes) -> None:
            for line in data.splitlines():
                json.loads(line)
                self.transport.write(answer.encode() + b"\n")

    async def main() -> None:
        loop = asyncio.get_running_loop()
        await loop.create_unix_server(Bare, str(folder / "nulld.sock"), backlog=1024)
        print("ready", flush=True)
        await loop.run_in_executor(None, sys.stdin.read)

    asyncio.run(main())


SERVERS: dict[str, Callable[[Path], None]] = {"gateway": serve_gateway, "bare": serve_bare}


@contextlib.contextmanager
def server(name: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="nb") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.gateway", "--serve", name, folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == "ready\n"
            yield f"{folder}/nulld.sock"
        finally:
            process.stdin.close()
            process.wait(20)


# --- load ---------------------------------------------------------------------------------------------------


async def load(path: str, seconds: float, offered: int | None) -> tuple[float, float]:
    """Requests a second that were answered, and the 99th percentile of the waiting in seconds."""
    waits: list[float] = []
    clock = time.perf_counter
    start = clock() + 0.2
    step = CLIENTS / offered if offered else 0.0

    async def client(number: int) -> None:
        reader, writer = await asyncio.open_unix_connection(path)
        due = start + step * number / CLIENTS
        while due < start + seconds:
            if offered:
                await asyncio.sleep(max(0.0, due - clock()))
            else:
                due = clock()
            writer.write(REQUEST)
            await reader.readline()
            waits.append(clock() - due)
            due += step
        writer.close()

    await asyncio.gather(*(client(number) for number in range(CLIENTS)))
    spent = clock() - start
    waits.sort()
    return len(waits) / spent, waits[int(len(waits) * 0.99)]


def seconds_of(command: list[str]) -> float:
    before = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - before


# --- the run ------------------------------------------------------------------------------------------------


def measure(seconds: float, rounds: int) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}

    def note(name: str, value: float) -> None:
        found.setdefault(name, []).append(value)

    nullctl = [sys.executable, "-c", "from nullbox.cli.nullctl import main; main()"]
    for _ in range(rounds):
        for name in SERVERS:
            with server(name) as path:
                note(f"{name}_most_per_s", asyncio.run(load(path, seconds, None))[0])
                if name != "gateway":
                    continue
                answered, p99 = asyncio.run(load(path, seconds, OFFERED))
                note("offered_per_s", answered)
                note("offered_p99_ms", 1000 * p99)
                for _ in range(3):
                    note("python_ms", 1000 * seconds_of([sys.executable, "-c", "import click"]))
                    note("version_ms", 1000 * seconds_of([*nullctl, "--socket", path, "version"]))
                    note("status_ms", 1000 * seconds_of([*nullctl, "--socket", path, "status"]))
    found["most_per_s"] = found.pop("gateway_most_per_s")
    found["most_to_bare"] = [a / b for a, b in zip(found["most_per_s"], found["bare_most_per_s"], strict=True)]
    found["status_to_version"] = [a / b for a, b in zip(found["status_ms"], found["version_ms"], strict=True)]
    return found


def main() -> int:
    parser = argument_parser(__doc__)
    parser.add_argument("--serve", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        SERVERS[options.serve[0]](Path(options.serve[1]))
        return 0
    return finish(MUST, measure(1.0 if options.quick else 5.0, options.rounds), options.json)


if __name__ == "__main__":
    sys.exit(main())

"""24,000 malformed, oversized, half-sent and hostile lines: the gateway stays up, keeps its size, serves others.

The seed is printed; `NULLBOX_SEED` repeats a run.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from itertools import islice

from gateway_system import System, running
from hostile_lines import lines

from nullbox.client import Nulld

COUNT = 24_000
PER_CONNECTION = 50
"""Below the limit of faults, so that each line is looked at and not dropped with its connection."""
GROWTH = 24 * 1024 * 1024
"""Bytes that the process may grow, after a warm-up with one line of each kind: buffers, not leaks."""


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def attack(system: System, source: Iterator[bytes], choose: random.Random) -> tuple[int, int]:
    """Send lines over connections that end in every possible way; how many were sent, and how many answered."""
    sent = 0
    answers: list[int] = []
    while batch := list(islice(source, PER_CONNECTION)):
        sent += len(batch)
        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(20)
            sock.connect(system.socket)
            reader = threading.Thread(target=drain, args=(sock, answers))
            reader.start()
            try:
                for line in batch:
                    sock.sendall(line + b"\n")
                ending = choose.randrange(4)
                if ending == 0:
                    sock.sendall(b'{"jsonrpc":"2.0","meth')
                elif ending == 1:
                    sock.sendall(b"x" * ((1 << 20) + 5))
            except OSError:
                pass  # cut off, as it may be
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR if choose.randrange(4) == 0 else socket.SHUT_WR)
            reader.join(30)
            assert not reader.is_alive(), "the gateway neither answers nor hangs up"
    return sent, sum(answers)


def drain(sock: socket.socket, answers: list[int]) -> None:
    with contextlib.suppress(OSError):
        while data := sock.recv(1 << 20):
            answers.append(data.count(b"\n"))


def watch(system: System, stop: threading.Event, waits: list[float]) -> None:
    """An honest client beside it all."""
    with Nulld(system.socket) as nulld:
        while not stop.is_set():
            before = time.monotonic()
            assert nulld.status()["healthy"] in (True, False)
            waits.append(time.monotonic() - before)
            stop.wait(0.02)


def guarded(errors: list[BaseException], body: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        try:
            body()
        except BaseException as error:
            errors.append(error)

    return run


def test_hostile_lines_cost_nobody_else_anything() -> None:
    seed = int(os.environ.get("NULLBOX_SEED") or random.SystemRandom().randrange(2**32))
    print(f"seed {seed}")
    with running() as system:
        choose = random.Random(seed)
        attack(system, lines(seed, 500), choose)
        before = resident()
        stop, waits, errors = threading.Event(), list[float](), list[BaseException]()
        honest = threading.Thread(target=guarded(errors, lambda: watch(system, stop, waits)))
        honest.start()
        try:
            sent, answered = attack(system, lines(seed + 1, COUNT), choose)
        finally:
            stop.set()
            honest.join(30)
        assert not errors
        assert sent == COUNT
        # Connections that ended abruptly got no answers, and mutations made some lines notifications.
        assert answered > COUNT / 2
        assert statistics.median(waits) < 0.5
        assert max(waits) < 20.0  # a busy machine has its moments
        growth = resident() - before
        print(f"grew by {growth} bytes; slowest of {len(waits)} honest answers {max(waits):.3f} s")
        assert growth < GROWTH
        with Nulld(system.socket) as nulld:
            assert len(nulld.agent_list()) == 2
        assert not [m for _, m in system.backend.asked if type(m).__name__ == "PowerCommand"]

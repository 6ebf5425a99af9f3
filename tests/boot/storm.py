#!/usr/bin/python3.13 -IS
"""PID 1 of a machine that does nothing but write to a store on its second disk, until its power is cut.

The bare image has this as /sbin/storm. Every acknowledgement is a line `SEQ HASH` on the virtio-serial port, written
when the store has given it and not before. The first line is `open SIZE ROOT`: what the store was after its recovery.
The kernel command line's `storm.seed=` decides what is written.
"""

import ctypes
import glob
import os
import random
import sys
import threading
import time

sys.path.insert(0, "/system/python")

from pathlib import Path

from nullbox.ctxgraph.batch import Ack, Delete, Erase, Op, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import entry_hash
from nullbox.ctxgraph.store import Outcome, Store
from nullbox.ctxgraph.writer import GroupWriter

STORE = Path("/var/ctxgraph.sqlite")
WAITING = 64
SIZES = (0, 10, 100, 100, 1000, 20_000)
AGENT = "storm"


def main() -> None:
    seed = mount_all()
    port = os.open(wait_for("/dev/vport*"), os.O_RDWR)
    store = Store(STORE, limits=lambda agent: None)
    os.write(port, f"open {store.size} {store.root().hex()}\n".encode())
    slots = threading.Semaphore(WAITING)

    def deliver(done: list[tuple[object, Outcome]]) -> None:
        acks = [outcome for _, outcome in done if isinstance(outcome, Ack) and outcome.changed]
        os.write(port, b"".join(f"{ack.seq} {ack.hash.hex()}\n".encode() for ack in acks))
        for token, _ in done:
            if token is not None:
                slots.release()

    writer = GroupWriter(store, deliver)  # type: ignore[arg-type]
    writer.start()
    number = random.Random(seed + store.size)
    n = store.size
    last = b""
    while True:
        n += 1
        for _ in range(number.choice((1, 1, 3, 16))):
            slots.acquire()
            op = operation(number, n, last)
            if isinstance(op, Write):
                last = op.hash
            writer.submit(op, n)


def operation(number: random.Random, n: int, last: bytes) -> Op:
    """Mostly writes, small and large, some of them for a moment; now and then what forgets."""
    key = f"storm.{number.randrange(50)}"
    dice = number.random()
    if dice < 0.03 and last:
        return Erase(AGENT, last)
    if dice < 0.06:
        return Delete(AGENT, key)
    text = canonical({"n": n, "salt": number.random(), "fill": "x" * number.choice(SIZES)})
    ttl_ns = 200_000_000 if dice > 0.9 else 0
    return Write(AGENT, key, entry_hash(AGENT, key, text), text, ttl_ns=ttl_ns)


def mount_all() -> int:
    """What the product's PID 1 mounts, as far as it is needed, and the disk; the seed of the command line."""
    libc = ctypes.CDLL(None, use_errno=True)
    disk = wait_for("/dev/vdb")
    for source, target, kind in (("proc", "/proc", "proc"), ("tmpfs", "/tmp", "tmpfs"), (disk, "/var", "ext4")):
        if libc.mount(source.encode(), target.encode(), kind.encode(), 0, None) != 0:
            raise OSError(ctypes.get_errno(), f"cannot mount {source} on {target}: {os.strerror(ctypes.get_errno())}")
    with open("/proc/cmdline") as words:
        return next(int(word.partition("=")[2]) for word in words.read().split() if word.startswith("storm.seed="))


def wait_for(pattern: str) -> str:
    while not (found := glob.glob(pattern)):
        time.sleep(0.05)
    return found[0]


if __name__ == "__main__":
    main()

"""Loss of power at random moments: every acknowledged write is there, and the audit passes.

A process writes to a store under a recorder of its system calls (`syscall_recorder.c`). From the record the disk is
made anew as it could look after a power cut at any moment: all that was synced, and of everything after the last
sync any part, whole sectors of 512 bytes, in any order. (SQLite relies on no more than that: see "Assumptions" in
https://sqlite.org/atomiccommit.html.) Set CTXGRAPH_SEED and CTXGRAPH_CUTS to replay or extend a campaign.
"""

from __future__ import annotations

import os
import random
import shutil
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from sizes import sized

from nullbox.ctxgraph import evidence
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.store import Store

WRITE, TRUNCATE, SYNC, REMOVE = 1, 2, 3, 4
DATABASE, WAL, ACKS = 1, 2, 3
HEADER = struct.Struct("<BBQI")
SECTOR = 512

WORKLOAD = """
import os, random, sys
from pathlib import Path
from nullbox.ctxgraph.batch import Ack, Erase, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import entry_hash
from nullbox.ctxgraph.store import Store
path, seed = Path(sys.argv[1]), int(sys.argv[2])
number = random.Random(seed)
store = Store(path)
store._connection.execute("PRAGMA wal_autocheckpoint = 20")  # checkpoints often, to be cut as well
acks = os.open(str(path) + "-acks", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
n, last = 0, None
for round in range(80):
    ops = []
    for _ in range(number.choice([1, 1, 3, 16, 64])):
        n += 1
        key = f"k{number.randrange(20)}"
        text = canonical({"n": n, "fill": "x" * number.choice([0, 10, 300, 3000])})
        last = entry_hash("a", key, text)
        ops.append(Write("a", key, last, text))
    if round % 20 == 19:
        ops.append(Erase("a", last))
    for ack in store.apply(ops):
        assert isinstance(ack, Ack), ack
        os.write(acks, f"{ack.seq} {ack.hash.hex()}\\n".encode())
    if round % 10 == 9:
        store.index(50)
store.close()
"""


@dataclass(frozen=True)
class Event:
    op: int
    file: int
    offset: int
    data: bytes


@pytest.fixture(scope="module")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler on this machine: the recorder of system calls cannot be built")
    target = tmp_path_factory.mktemp("recorder") / "recorder.so"
    source = Path(__file__).with_name("syscall_recorder.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", target, source, "-ldl", "-lpthread"], check=True)
    return target


def record(recorder: Path, folder: Path, seed: int) -> list[Event]:
    """Run the workload to its end; everything that it did to the store's files, in order."""
    environment = {
        **os.environ,
        "LD_PRELOAD": str(recorder),
        "RECORD_PATH": str(folder / "store.sqlite"),
        "RECORD_TO": str(folder / "record"),
    }
    command = [sys.executable, "-c", WORKLOAD, str(folder / "store.sqlite"), str(seed)]
    subprocess.run(command, env=environment, check=True, timeout=120)
    data, events, at = (folder / "record").read_bytes(), [], 0
    while at < len(data):
        op, file, offset, length = HEADER.unpack_from(data, at)
        at += HEADER.size
        events.append(Event(op, file, offset, data[at : at + length] if op == WRITE else b""))
        at += length if op == WRITE else 0
    return events


class Disk:
    """The files as they are on the platter, and what is still only in memory."""

    def __init__(self) -> None:
        self.files: dict[int, bytearray] = {}
        self.pending: dict[int, list[Event]] = {}

    def take(self, event: Event) -> None:
        if event.op == SYNC:
            for waiting in self.pending.pop(event.file, []):
                self._apply(waiting, None)
        elif event.op == REMOVE:
            self.pending.setdefault(event.file, []).append(event)
            self.take(Event(SYNC, event.file, 0, b""))
        else:
            self.pending.setdefault(event.file, []).append(event)

    def cut(self, number: random.Random) -> None:
        """The power goes: of what was pending, any part gets to the platter, in any order."""
        for waiting in self.pending.values():
            number.shuffle(waiting)
            for event in waiting:
                if number.random() < 0.5:
                    self._apply(event, number)
        self.pending.clear()

    def _apply(self, event: Event, number: random.Random | None) -> None:
        if event.op == REMOVE:
            self.files.pop(event.file, None)
            return
        content = self.files.setdefault(event.file, bytearray())
        if event.op == TRUNCATE:
            del content[event.offset :]
            content.extend(bytes(event.offset - len(content)))
            return
        for start in range(0, len(event.data), SECTOR):
            if number is not None and number.random() < 0.3:
                continue
            piece = event.data[start : start + SECTOR]
            first = event.offset + start
            if len(content) < first + len(piece):
                content.extend(bytes(first + len(piece) - len(content)))
            content[first : first + len(piece)] = piece


def acknowledged(events: list[Event]) -> list[tuple[int, str]]:
    text = b"".join(event.data for event in events if event.file == ACKS and event.op == WRITE).decode()
    return [(int(line.split()[0]), line.split()[1]) for line in text.splitlines()]


def after_cut(events: list[Event], moment: int, number: random.Random, folder: Path) -> Path:
    disk = Disk()
    for event in events[:moment]:
        if event.file != ACKS:
            disk.take(event)
    disk.cut(number)
    folder.mkdir()
    path = folder / "store.sqlite"
    for file, name in ((DATABASE, path), (WAL, path.with_name(path.name + "-wal"))):
        if file in disk.files:
            name.write_bytes(bytes(disk.files[file]))
    return path


def test_nothing_acknowledged_is_lost_when_the_power_goes(recorder: Path, tmp_path: Path) -> None:
    seed = int(os.environ.get("CTXGRAPH_SEED", random.SystemRandom().randrange(10**9)))
    cuts = int(os.environ.get("CTXGRAPH_CUTS", sized(10, full=50)))
    print(f"CTXGRAPH_SEED={seed} CTXGRAPH_CUTS={cuts}")
    number = random.Random(seed)
    events = record(recorder, tmp_path, seed)
    syncs = sum(event.op == SYNC for event in events)
    assert syncs > 80, "the workload synced: the recorder works"
    first = next(n for n, event in enumerate(events) if event.file == ACKS)
    for turn in range(cuts):
        moment = number.randrange(first, len(events) + 1)
        path = after_cut(events, moment, number, tmp_path / str(turn))
        promised = acknowledged(events[:moment])
        store = Store(path)
        assert store.size >= len(promised), f"cut {turn} at event {moment}"
        store.close()
        reader = Reader(path)
        for start in range(0, len(promised), 500):
            part = promised[start : start + 500]
            page = reader.query([""], Window(part[0][0] - 1, part[-1][0] + 1), 500, kinds=4)
            found = {entry.seq: entry.hash.hex() for entry in page.entries}
            while page.next is not None:
                page = reader.query([""], Window(page.next, part[-1][0] + 1), 500, kinds=4)
                found |= {entry.seq: entry.hash.hex() for entry in page.entries}
            assert found == dict(part), f"cut {turn} at event {moment}"
        report = evidence.audit(reader)
        assert report["ok"], (turn, moment, report["problems"])
        reader.close()
        shutil.rmtree(path.parent)


def test_the_harness_sees_a_store_that_does_not_sync(recorder: Path, tmp_path: Path) -> None:
    """With the syncs left out of the record, acknowledged writes must be seen to be lost."""
    events = [event for event in record(recorder, tmp_path, 1) if event.op != SYNC or event.file == DATABASE]
    number = random.Random(1)
    first = next(n for n, event in enumerate(events) if event.file == ACKS)
    lost = 0
    for turn in range(10):
        moment = number.randrange(first + 200, len(events))
        path = after_cut(events, moment, number, tmp_path / str(turn))
        try:
            store = Store(path)
        except Exception:
            lost += 1
            continue
        lost += store.size < len(acknowledged(events[:moment]))
        store.close()
    assert lost


FAILING = WORKLOAD.replace("assert isinstance(ack, Ack), ack", "stop(store, ack)").replace(
    "path, seed =",
    """
def stop(store, ack):
    if not isinstance(ack, Ack):
        again = store.apply([Write("a", "k", entry_hash("a", "k", b"1"), b"1")])[0]
        print(ack.code.value, "again:", again is store.failed, ack.message)
        os._exit(9)
path, seed =""",
)


@pytest.mark.parametrize("syncs", [6, 11, 40])
def test_after_a_failed_sync_nothing_is_acknowledged_and_nothing_is_lost(
    recorder: Path, tmp_path: Path, syncs: int
) -> None:
    """EIO from the kernel at a sync, whichever it is: of the WAL in a commit, or of the database in a checkpoint."""
    path = tmp_path / "store.sqlite"
    environment = {
        **os.environ,
        "LD_PRELOAD": str(recorder),
        "RECORD_PATH": str(path),
        "RECORD_TO": str(tmp_path / "record"),
        "FAIL_SYNC_AFTER": str(syncs),
    }
    command = [sys.executable, "-c", FAILING, str(path), "7"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 9, done.stderr
    assert done.stdout.startswith("unavailable again: True the disk failed")
    promised = [line.split() for line in Path(f"{path}-acks").read_text().splitlines()]
    store = Store(path)
    assert store.size >= len(promised)
    store.close()
    reader = Reader(path)
    for seq, address in promised:
        assert evidence.prove(reader, int(seq))["record"]["hash"] == address
    assert evidence.audit(reader)["ok"]

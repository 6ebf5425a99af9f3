"""The journal: numbers without repetition, bounds, restarts, torn files; and collecting each event once."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.gateway.collector import collect_once
from nullbox.gateway.journal import LONGEST_TEXT, Journal
from nullbox.gateway.memory import MemoryBackend


def seqs(journal: Journal, since: int = 0, limit: int = 500) -> list[int]:
    return [event["seq"] for event in journal.since(since, limit)["events"]]


def test_events_are_numbered_and_read_from_any_number_on(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    for number in range(5):
        journal.add("state", "cage:pulse", ts=float(number), to="running")
    assert seqs(journal) == [1, 2, 3, 4, 5]
    assert seqs(journal, 3) == [4, 5]
    assert seqs(journal, 0, 2) == [1, 2]
    assert journal.since(5) == {"events": [], "last_seq": 5, "lost": 0}
    assert journal.since(99)["events"] == []
    journal.close()


def test_it_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    first = Journal(path)
    first.add("boot")
    first.add("exit", "cage:pulse", origin=("a/1", 7), code=3)
    first.close()
    again = Journal(path)
    assert again.origin == ("a/1", 7)
    assert again.add("state")["seq"] == 3
    assert [event["kind"] for event in again.since(0)["events"]] == ["boot", "exit", "state"]
    again.close()


class Disk:
    """Stands in for fdatasync(2): which files were asked to be kept, and what it says to that."""

    def __init__(self) -> None:
        self.kept: list[Path] = []
        self.error: OSError | None = None

    def sync(self, fd: int) -> None:
        if self.error is not None:
            raise self.error
        self.kept.append(Path(os.readlink(f"/proc/self/fd/{fd}")))


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(os, "fdatasync", disk.sync)
    return disk


async def turns(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not done():
            await asyncio.sleep(0)


def test_the_disk_is_asked_to_keep_what_is_new_and_only_that(tmp_path: Path, disk: Disk) -> None:
    path = tmp_path / "events.jsonl"

    async def scenario() -> None:
        journal = Journal(path)
        keeping = asyncio.create_task(journal.keep_synced(0))
        journal.add("boot")
        journal.add("state")
        await turns(lambda: bool(disk.kept))
        for _ in range(100):
            await asyncio.sleep(0)
        assert disk.kept == [path]
        journal.add("state")
        await turns(lambda: len(disk.kept) == 2)
        keeping.cancel()
        journal.close()

    asyncio.run(scenario())


def test_a_disk_that_keeps_nothing_is_asked_again_and_said_once(
    tmp_path: Path, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        journal = Journal(tmp_path / "events.jsonl")
        keeping = asyncio.create_task(journal.keep_synced(0))
        disk.error = OSError(5, "Input/output error")
        journal.add("boot")
        await turns(lambda: "cannot be written" in caplog.text)
        for _ in range(100):
            await asyncio.sleep(0)
        disk.error = None
        await turns(lambda: bool(disk.kept))
        assert caplog.text.count("cannot be written") == 1
        keeping.cancel()
        journal.close()

    before = len(os.listdir("/proc/self/fd"))
    asyncio.run(scenario())
    assert len(os.listdir("/proc/self/fd")) == before


@given(st.integers(0, 400))
def test_a_torn_file_loses_only_what_is_torn(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    journal = Journal(path)
    for _ in range(4):
        journal.add("state", "cage:pulse", origin=("a/1", 1))
    journal.close()
    data = path.read_bytes()
    path.write_bytes(data[: max(0, len(data) - cut)])
    whole = path.read_bytes().count(b"\n")
    again = Journal(path)
    assert len(seqs(again)) in (whole, whole + 1)  # the cut may have taken the newline alone
    again.add("state")
    again.close()
    last = Journal(path)
    assert seqs(last) == list(range(1, len(seqs(last)) + 1))
    last.close()


@given(st.binary(max_size=300))
def test_any_file_is_read(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("journal") / "events.jsonl"
    path.write_bytes(data)
    journal = Journal(path)
    assert journal.add("state")["seq"] >= 1
    journal.close()


def test_it_is_bounded_in_memory_and_on_disk(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path, keep=10)
    for number in range(1, 96):
        journal.add("state", origin=("a/1", number))
    assert seqs(journal) == list(range(86, 96))
    assert journal.since(50)["lost"] == 35
    assert path.read_bytes().count(b"\n") <= 20
    journal.close()
    again = Journal(path, keep=10)
    assert seqs(again) == list(range(86, 96))
    assert again.origin == ("a/1", 95)
    again.close()


def test_long_texts_keep_their_end(tmp_path: Path) -> None:
    journal = Journal(None)
    event = journal.add("crash", traceback="x" * 100_000 + "ValueError: here", last_messages=list(range(1000)))
    assert event["traceback"].endswith("ValueError: here")
    assert len(event["traceback"]) == LONGEST_TEXT + 1
    assert len(event["last_messages"]) == 50


def test_a_full_disk_costs_the_file_and_not_the_events(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "events.jsonl")
    with open("/dev/full", "wb") as full:
        os.dup2(full.fileno(), journal._descriptor)
    assert journal.add("state")["seq"] == 1
    assert journal.add("state")["seq"] == 2
    assert seqs(journal) == [1, 2]


def test_it_is_kept_again_once_it_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Found by the crash schedules of seeds 698 to 711: one failed write was the last that was tried."""
    path = tmp_path / "events.jsonl"
    journal = Journal(path)
    journal.add("before")
    write = os.write
    with monkeypatch.context() as patch:
        written: list[int] = []

        def half(fd: int, data: bytes) -> int:
            if written:
                raise OSError(28, "No space left on device")
            written.append(write(fd, bytes(data)[:10]))
            return written[0]

        patch.setattr(os, "write", half)
        journal.add("meanwhile")
    journal.add("after")
    assert [event["kind"] for event in journal.since(0)["events"]] == ["before", "meanwhile", "after"]
    journal.close()
    again = Journal(path)
    assert [event["kind"] for event in again.since(0)["events"]] == ["before", "after"]
    assert again.last_seq == 3
    again.close()


def test_a_rewrite_that_fails_is_tried_again_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.jsonl"
    journal = Journal(path, keep=4)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda fd: (_ for _ in ()).throw(OSError(5, "Input/output error")))
        for number in range(9):
            journal.add("x", number=number)
    for number in range(9, 13):
        journal.add("x", number=number)
    assert len(path.read_text().splitlines()) <= 2 * 4
    journal.close()
    again = Journal(path, keep=4)
    assert seqs(again) == [10, 11, 12, 13]
    again.close()


def test_waiting_ends_with_the_next_event() -> None:
    async def main() -> None:
        journal = Journal(None)
        waiting = [asyncio.create_task(journal.wait(0)) for _ in range(3)]
        await asyncio.sleep(0)
        journal.add("state")
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)
            await journal.wait(0)

    asyncio.run(main())


def test_each_event_is_collected_once_whoever_restarts(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"

    async def collect(backend: MemoryBackend, source: str) -> list[Any]:
        journal = Journal(path)  # a gateway that was just started
        await collect_once(backend, journal, source)
        found = [event["n"] for event in journal.since(0, 10_000)["events"]]
        journal.close()
        return found

    backend = MemoryBackend()
    for number in range(1200):
        backend.record("state", "cage:pulse", n=number)
    assert asyncio.run(collect(backend, "boot/1")) == list(range(1200))
    backend.record("exit", "cage:pulse", n=1200)
    assert asyncio.run(collect(backend, "boot/1")) == list(range(1201))
    fresh = MemoryBackend()  # the root restarted and counts from 1 again
    fresh.record("state", "egress", n=5000)
    assert asyncio.run(collect(fresh, "boot/2")) == [*range(1201), 5000]
    assert asyncio.run(collect(fresh, "boot/2")) == [*range(1201), 5000]
    assert json.loads(path.read_bytes().splitlines()[-1])["origin"] == ["boot/2", 1]

"""A store of a million entries opens quickly, answers every kind of query within its bound, and is whole."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sizes import sized

from nullbox.ctxgraph import evidence
from nullbox.ctxgraph.batch import Ack, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import entry_hash
from nullbox.ctxgraph.proofs import Checkpoint, check_inclusion
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.reader import NEVER, Reader
from nullbox.ctxgraph.store import Store

ENTRIES = sized(20_000, full=1_000_000)
STEPS_OF_A_PAGE = 100
"""Thousand steps of SQLite's virtual machine for one page, whatever the size of the store; `query` says why."""

pytestmark = pytest.mark.timeout(1800)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("million") / "ctxgraph.sqlite"
    store = Store(path, limits=lambda agent: None)
    store._connection.execute("PRAGMA synchronous = OFF")
    for start in range(1, ENTRIES + 1, 64):
        ops = []
        for n in range(start, min(start + 64, ENTRIES + 1)):
            agent, key = f"agent{n % 7}", f"p{n % 10}.k{n % 1000}" if n % 2 else f"p{n % 10}.{n}"
            text = canonical({"n": n})
            ops.append(Write(agent, key, entry_hash(agent, key, text), text))
        assert all(isinstance(ack, Ack) for ack in store.apply(ops))
    store.close()
    return path


@pytest.fixture
def reader(filled: Path) -> Iterator[Reader]:
    opened = Reader(filled, seconds=600.0)
    yield opened
    opened.close()


def test_it_opens_without_reading_it_all(filled: Path) -> None:
    started = time.monotonic()
    store = Store(filled)
    assert store.size == ENTRIES
    store.close()
    assert time.monotonic() - started < 5.0


@pytest.mark.parametrize("prefix", ["", "p1.", "p1.k", "p1.k1", "p9.k999", "none."])
@pytest.mark.parametrize("newest_first", [False, True])
def test_a_page_costs_what_a_page_costs(reader: Reader, prefix: str, newest_first: bool) -> None:
    steps = 0

    def count() -> int:
        nonlocal steps
        steps += 1
        return 0

    reader._connection.set_progress_handler(count, 1000)
    page = reader.query([prefix], Window(0, NEVER, newest_first), 100)
    if prefix != "none.":
        assert page.entries
    assert steps <= STEPS_OF_A_PAGE


def test_any_record_is_proved_by_a_short_path(reader: Reader) -> None:
    size, root, _ = reader.state()
    for seq in (1, 2, ENTRIES // 3, ENTRIES - 1, ENTRIES):
        proof = evidence.prove(reader, seq)
        assert len(proof["path"]) <= ENTRIES.bit_length()
        check_inclusion(Checkpoint(size, root.hex()), proof)


def test_it_is_whole(reader: Reader) -> None:
    report = evidence.audit(reader)
    assert report["ok"], report["problems"]

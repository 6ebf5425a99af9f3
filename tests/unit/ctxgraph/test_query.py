"""Pages by prefix, in the order of the log: every plan gives what a plain filter of the log would."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nullbox.ctxgraph import query
from nullbox.ctxgraph.batch import Ack, Write
from nullbox.ctxgraph.query import Window, key_range, select
from nullbox.ctxgraph.reader import MAX_PAGE, NEVER, PAGE_BYTES, Reader, answer_size
from nullbox.ctxgraph.store import Store

characters = st.sampled_from(["a", "b", "B", ".", "\U0010ffff", "\ud7ff", "\ue000", "é", "%", "_"])
texts = st.text(characters, max_size=4)


@given(texts, texts)
def test_the_range_of_a_prefix_holds_exactly_its_keys(prefix: str, key: str) -> None:
    low, high = key_range(prefix)
    encoded = key.encode()
    inside = low.encode() <= encoded and (high is None or encoded < high.encode())
    assert inside == key.startswith(prefix)


Log = list[tuple[int, str, int]]


def database(log: Log) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE log (seq INTEGER PRIMARY KEY, key TEXT NOT NULL, kind INTEGER NOT NULL)")
    connection.execute("CREATE INDEX log_by_key ON log (key)")
    connection.executemany("INSERT INTO log VALUES (?, ?, ?)", log)
    return connection


def expected(log: Log, prefixes: list[str], window: Window, limit: int, kinds: int) -> list[int]:
    found = [
        seq
        for seq, key, kind in log
        if window.after < seq < window.before and kind < kinds and key.startswith(tuple(prefixes))
    ]
    return (found[::-1] if window.newest_first else found)[:limit]


@pytest.fixture(params=["default", "merge only", "sort only", "scan first"])
def plan(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Force each of the plans in turn."""
    small, keys, rows = {
        "default": (512, 32, 4000),
        "merge only": (0, 10_000, 0),
        "sort only": (0, 0, 0),
        "scan first": (0, 0, 7),
    }[request.param]
    monkeypatch.setattr(query, "SMALL_WINDOW", small)
    monkeypatch.setattr(query, "MERGE_KEYS", keys)
    monkeypatch.setattr(query, "SCAN_ROWS", rows)
    yield request.param


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(texts.filter(bool), st.integers(0, 3)), max_size=30),
    st.sampled_from([[""], ["a"], ["a.", "b"], ["B"], ["é", "\ud7ff"], ["zz"]]),
    st.integers(0, 31),
    st.integers(0, 40),
    st.booleans(),
    st.integers(0, 10),
    st.sampled_from([1, 4]),
)
def test_a_page_is_what_a_filter_of_the_log_gives(
    plan: str,
    keys: list[tuple[str, int]],
    prefixes: list[str],
    after: int,
    before: int,
    newest_first: bool,
    limit: int,
    kinds: int,
) -> None:
    log = [(n, key, kind) for n, (key, kind) in enumerate(keys, 1)]
    window = Window(after, before, newest_first)
    connection = database(log)
    assert select(connection, prefixes, window, limit, kinds=kinds) == expected(log, prefixes, window, limit, kinds)
    connection.close()


def steps(connection: sqlite3.Connection, work: Callable[[], object]) -> int:
    """Instructions of SQLite's virtual machine, in units of 100."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(tick, 100)
    work()
    connection.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize(
    "name", ["one busy key", "all different", "a tenth", "few among many", "all at the end", "none"]
)
def test_the_work_for_a_page_does_not_grow_with_the_store(name: str) -> None:
    """Counted in instructions, not in time: 25 times the records, at most a few times the work."""

    def build(size: int) -> Log:
        number = random.Random(7)
        kinds = {
            "one busy key": lambda n: "p.x",
            "all different": lambda n: f"p.{n}",
            "a tenth": lambda n: f"{'p' if n % 10 == 0 else 'q'}.{n}",
            "few among many": lambda n: f"p.{n}" if n * 300 // size != (n - 1) * 300 // size else f"q.{n}",
            "all at the end": lambda n: f"p.{n}" if n > size - 400 else f"q.{number.random()}",
            "none": lambda n: f"q.{n}",
        }
        return [(n, kinds[name](n), 0) for n in range(1, size + 1)]

    work = []
    for size in (2_000, 50_000):
        connection = database(build(size))
        window = Window(0, size + 1)
        work.append(steps(connection, lambda c=connection, w=window: select(c, ["p."], w, 100)))  # type: ignore[misc]
        connection.close()
    assert work[1] <= 4 * work[0] + 500, work


def test_pages_follow_each_other_without_gap_or_overlap(
    store: Store, path: Path, write: Callable[..., Write], put: Callable[..., list[Ack]]
) -> None:
    put(store, *(write("a", f"p.{n % 40}", n) for n in range(500)))
    reader = Reader(path)
    for newest_first in (False, True):
        seen: list[int] = []
        cursor: int | None = NEVER if newest_first else 0
        while cursor is not None:
            window = Window(0, cursor, True) if newest_first else Window(cursor, NEVER)
            page = reader.query(["p."], window, 33)
            seen += [entry.seq for entry in page.entries]
            cursor = page.next
        assert seen == (list(range(500, 0, -1)) if newest_first else list(range(1, 501)))


def test_as_of_shows_the_log_as_it_was(
    store: Store, path: Path, write: Callable[..., Write], put: Callable[..., list[Ack]]
) -> None:
    put(store, *(write("a", "k", n) for n in range(10)))
    page = Reader(path).query(["k"], Window(0, NEVER, True), 3, as_of=5)
    assert [entry.seq for entry in page.entries] == [5, 4, 3]


def test_a_page_of_large_values_ends_before_its_answer_outgrows_a_line(
    store: Store, path: Path, write: Callable[..., Write], put: Callable[..., list[Ack]]
) -> None:
    put(store, *(write("a", "k", "é" * 50_000 + str(n)) for n in range(20)))
    reader, seen, cursor = Reader(path), [], 0
    while cursor is not None:
        page = reader.history("k", Window(cursor, NEVER), MAX_PAGE)
        assert page.entries
        assert sum(answer_size(entry) for entry in page.entries) <= PAGE_BYTES
        seen += [entry.seq for entry in page.entries]
        cursor = page.next
    assert seen == list(range(1, 21))


def test_by_agent_shows_what_may_be_read_and_goes_on(
    store: Store, path: Path, write: Callable[..., Write], put: Callable[..., list[Ack]]
) -> None:
    put(store, *(write("ab"[n % 2], f"{'open' if n > 900 else 'shut'}.{n}", n) for n in range(1000)))
    reader, seen, cursor, pages = Reader(path), [], 0, 0
    while cursor is not None:
        page = reader.by_agent("a", ("open.",), Window(cursor, NEVER), 5)
        seen += [entry.seq for entry in page.entries]
        cursor = page.next
        pages += 1
    assert seen == [n + 1 for n in range(902, 1000, 2)]
    assert pages >= 10


def test_a_query_that_takes_too_long_is_stopped(path: Path, store: Store) -> None:
    from nullbox.protocols.errors import ErrorCode, NullBoxError

    reader = Reader(path)
    endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    with pytest.raises(NullBoxError, match="too long") as raised, reader.snapshot(0.05) as connection:
        connection.execute(endless).fetchone()
    assert raised.value.code is ErrorCode.TIMEOUT
    assert reader.state()[0] == 0


def test_reads_go_on_after_any_number_of_reads(
    path: Path, store: Store, write: Callable[..., Write], put: Callable[..., list[Ack]]
) -> None:
    """The time limit is that of a call, not of the reader."""
    (ack,) = put(store, write("a", "k", 1))
    reader = Reader(path)
    for _ in range(3000):
        assert reader.read(ack.hash).seq == 1

"""Which records a query shows, in the order of the log, at a cost bounded by the page. Effects: reads the database.

A prefix selects a range of keys, a page wants the order of the log, and no one index has both. So three plans:

- *merge*: the range has few different keys: walk each key's records (they lie in log order) and merge;
- *scan*: go through the log itself and keep what is in the range; fine when a good part of the log is;
- *sort*: collect the whole range and keep the best; fine when it is small beside the log.

`pages` tries them in this order, each within a bound, so that no layout of keys makes it read the whole log for a
page that a range would have given. Keys compare by their UTF-8 bytes, which is the order of code points.
"""

# ruff: noqa: S608 - statements are put together from fixed texts and marks; every value is bound

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from nullbox.ctxgraph.entry import Kind

MERGE_KEYS = 32
"""Most different keys for a merge."""
SCAN_ROWS = 4_000
"""Most records that a scan reads before it gives up."""
SMALL_WINDOW = 512
"""Windows of so few records are scanned at once: a watcher looks at what is new."""

Range = tuple[str, str | None]
"""Keys from the first (inclusive) to the second (exclusive); None: to the end."""


@dataclass(frozen=True, slots=True)
class Window:
    """Which part of the log: `after` < seq < `before`, oldest or newest first."""

    after: int
    before: int
    newest_first: bool = False

    @property
    def order(self) -> str:
        return "DESC" if self.newest_first else "ASC"


def key_range(prefix: str) -> Range:
    """The range of keys that begin with `prefix`."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return prefix, None
    following = ord(stem[-1]) + 1
    if following == 0xD800:
        following = 0xE000
    return prefix, stem[:-1] + chr(following)


def select(
    connection: sqlite3.Connection, prefixes: Sequence[str], window: Window, limit: int, *, kinds: int = 1
) -> list[int]:
    """The `seq` of up to `limit` records whose key begins with one of `prefixes`, in the window's order.

    kinds: how many of the values of `Kind` count, from 0: 1 for writes only, 4 for every event.
    """
    if window.before - window.after <= 1 or limit < 1 or not prefixes:
        return []
    if "" in prefixes:
        sql = f"SELECT seq FROM log WHERE seq > ? AND seq < ? AND kind < ? ORDER BY seq {window.order} LIMIT ?"
        return [row[0] for row in connection.execute(sql, (window.after, window.before, kinds, limit))]
    ranges = [key_range(prefix) for prefix in prefixes]
    if window.before - window.after <= SMALL_WINDOW:
        return _scan(connection, ranges, window, limit, kinds) or []
    keys = list(islice(_different_keys(connection, ranges), MERGE_KEYS + 1))
    if len(keys) <= MERGE_KEYS:
        return _merge(connection, keys, window, limit, kinds)
    found = _scan(connection, ranges, window, limit, kinds)
    return _sort(connection, ranges, window, limit, kinds) if found is None else found


def _different_keys(connection: sqlite3.Connection, ranges: Sequence[Range]) -> Iterator[str]:
    for low, high in ranges:
        bound, values = ("", ()) if high is None else (" AND key < ?", (high,))
        comparison, key = ">=", low
        while True:
            sql = f"SELECT key FROM log WHERE key {comparison} ?{bound} ORDER BY key LIMIT 1"
            row = connection.execute(sql, (key, *values)).fetchone()
            if row is None:
                break
            key, comparison = row[0], ">"
            yield key


def _merge(connection: sqlite3.Connection, keys: Sequence[str], window: Window, limit: int, kinds: int) -> list[int]:
    # The rows come lazily: of every key but few more than the page takes.
    sql = (
        "SELECT seq FROM log INDEXED BY log_by_key WHERE key = ? AND seq > ? AND seq < ? AND kind < ?"
        f" ORDER BY seq {window.order}"
    )
    walks = [connection.execute(sql, (key, window.after, window.before, kinds)) for key in keys]
    merged = heapq.merge(*walks, reverse=window.newest_first)
    found = [row[0] for row in islice(merged, limit)]
    for walk in walks:
        walk.close()
    return found


def _scan(
    connection: sqlite3.Connection, ranges: Sequence[Range], window: Window, limit: int, kinds: int
) -> list[int] | None:
    """The page, or None when SCAN_ROWS records did not fill it and there are more."""
    if window.newest_first:
        part = Window(max(window.after, window.before - 1 - SCAN_ROWS), window.before, True)
    else:
        part = Window(window.after, min(window.before, window.after + 1 + SCAN_ROWS))
    condition, values = _in_ranges(ranges)
    sql = (
        f"SELECT seq FROM log NOT INDEXED WHERE seq > ? AND seq < ? AND kind < ? AND ({condition})"
        f" ORDER BY seq {part.order} LIMIT ?"
    )
    found = [row[0] for row in connection.execute(sql, (part.after, part.before, kinds, *values, limit))]
    whole = (part.after, part.before) == (window.after, window.before)
    return found if whole or len(found) == limit else None


def _sort(connection: sqlite3.Connection, ranges: Sequence[Range], window: Window, limit: int, kinds: int) -> list[int]:
    pick = heapq.nlargest if window.newest_first else heapq.nsmallest
    best: list[int] = []
    every = "" if kinds > max(Kind) else " AND kind < ?"
    for low, high in ranges:
        bound, values = ("", []) if high is None else (" AND key < ?", [high])
        # The index alone holds key and seq, so this never touches the log's rows, unless kinds are left out.
        sql = (
            "SELECT seq FROM log INDEXED BY log_by_key"
            f" WHERE key >= ?{bound} AND seq > ? AND seq < ?{every} ORDER BY seq {window.order} LIMIT ?"
        )
        kind = [kinds] if every else []
        rows = connection.execute(sql, [low, *values, window.after, window.before, *kind, limit])
        best = pick(limit, best + [row[0] for row in rows])
    return best


def _in_ranges(ranges: Sequence[Range]) -> tuple[str, list[str]]:
    parts, values = [], []
    for low, high in ranges:
        parts.append("key >= ?" if high is None else "(key >= ? AND key < ?)")
        values += [low] if high is None else [low, high]
    return " OR ".join(parts), values

"""What a group of writes must know of the store, from its tables. Effects: reads the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from typing import Any

from nullbox.ctxgraph.batch import Head, Stored
from nullbox.ctxgraph.entry import Kind


class SqlLookup:
    """`batch.Lookup` on the tables."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._execute = connection.execute

    def existing(self, hashes: list[bytes]) -> Mapping[bytes, tuple[int, bool]]:
        if not hashes:
            return {}
        sql = "SELECT hash, seq, value IS NULL FROM objects WHERE hash IN "
        found: dict[bytes, tuple[int, bool]] = {}
        for start in range(0, len(hashes), 512):
            part = hashes[start : start + 512]
            rows = self._execute(sql + "(" + ",".join("?" * len(part)) + ")", part)
            found.update({hash: (seq, bool(erased)) for hash, seq, erased in rows})
        return found

    def head(self, key: str, now_ns: int) -> Head | None:
        row = self._execute(
            "SELECT o.hash, l.object, l.seq, l.agent_id, l.kind, l.expires_ns FROM log l"
            " JOIN objects o ON o.seq = l.object WHERE l.key = ? AND l.kind <> ? ORDER BY l.seq DESC LIMIT 1",
            (key, int(Kind.ERASE)),
        ).fetchone()
        if row is None or row[4] != Kind.WRITE or 0 < row[5] <= now_ns:
            return None
        return Head(*row[:4])

    def stored(self, hash: bytes) -> Stored | None:
        row = self._execute(
            "SELECT o.seq, l.agent_id, l.key, o.value IS NULL FROM objects o JOIN log l ON l.seq = o.seq"
            " WHERE o.hash = ?",
            (hash,),
        ).fetchone()
        return None if row is None else Stored(row[0], row[1], row[2], bool(row[3]))

    def records(self, first: int, last: int) -> dict[int, tuple[Any, ...]]:
        """By seq, what the leaves of these records commit to, in the order of `merkle.leaf_data`."""
        rows = self._execute(
            "SELECT l.kind, l.seq, l.ts_ns, l.expires_ns, o.hash, l.agent_id, l.key FROM log l"
            " JOIN objects o ON o.seq = l.object WHERE l.seq BETWEEN ? AND ?",
            (first, last),
        )
        return {row[1]: row for row in rows}

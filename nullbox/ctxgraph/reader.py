"""Read a store on a connection of its own, which cannot write. Effects: reads the database file.

Every public method is one consistent snapshot of the store (a WAL read transaction), not later than its last
commit. A Reader is used by one thread at a time.
"""

# ruff: noqa: S608 - statements are put together from fixed texts and marks; every value is bound

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nullbox.ctxgraph import faults
from nullbox.ctxgraph.entry import Entry, Kind
from nullbox.ctxgraph.query import Window, select
from nullbox.protocols.errors import ErrorCode, NullBoxError

MAX_PAGE = 1000
PAGE_BYTES = 600 * 1024
"""A page ends before its answer could outgrow a line of the protocol (1 MiB)."""
NEVER = 2**62

_PLAIN = frozenset(b"/-._0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_COLUMNS = "o.hash, l.agent_id, l.key, o.value, l.seq, l.ts_ns, l.kind, l.expires_ns"
_FROM = "FROM log l JOIN objects o ON o.seq = l.object"


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in the order asked for. `next` is the cursor of the page after this one, None at the end."""

    entries: list[Entry]
    next: int | None


def read_only(path: Path) -> str:
    """The URI by which SQLite opens a file that it may not change (https://sqlite.org/uri.html)."""
    escaped = (chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in bytes(path.absolute()))
    return f"file:{''.join(escaped)}?mode=ro"


class Reader:
    """See the module. `seconds` bounds each call; one that takes longer fails with `timeout`.

    Raises (constructor and all methods):
        NullBoxError: `unavailable`, the store cannot be read, with SQLite's reason.
    """

    def __init__(
        self, path: Path, *, clock_ns: Callable[[], int] = time.time_ns, seconds: float = 5.0, cache_kib: int = 4096
    ) -> None:
        self._clock_ns = clock_ns
        self._seconds = seconds
        self._deadline = 0.0
        try:
            self._connection = sqlite3.connect(read_only(path), uri=True, isolation_level=None, check_same_thread=False)
            self._connection.execute("PRAGMA query_only = ON")
            self._connection.execute(f"PRAGMA cache_size = -{cache_kib}")
        except sqlite3.Error as error:
            raise faults.explain(error) from error
        self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, 20_000)

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def snapshot(self, seconds: float | None = None) -> Iterator[sqlite3.Connection]:
        """One read transaction, bounded in time; SQLite's errors come out explained."""
        self._deadline = time.monotonic() + (self._seconds if seconds is None else seconds)
        connection = self._connection
        try:
            connection.execute("BEGIN")
            try:
                yield connection
            finally:
                if connection.in_transaction:
                    # There is nothing to commit, and on a damaged database a commit would fail.
                    connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise faults.explain(error) from error

    # --- single entries -------------------------------------------------------------------------------------

    def read(self, hash: bytes) -> Entry:
        """The object of that hash, as of its first record.

        Raises:
            NullBoxError: `not_found`.
        """
        self._deadline = time.monotonic() + self._seconds
        try:
            row = self._connection.execute(
                f"SELECT {_COLUMNS} FROM objects o JOIN log l ON l.seq = o.seq WHERE o.hash = ?",
                (hash,),
            ).fetchone()
        except sqlite3.Error as error:
            raise faults.explain(error) from error
        if row is None:
            raise NullBoxError(ErrorCode.NOT_FOUND, f"no entry {hash.hex()}")
        return _entry(row)

    def latest(self, key: str, as_of: int = NEVER) -> Entry:
        """The key's live entry, after the record `as_of`.

        Expiry is judged by the clock for the present, and by the recorded `EXPIRE` for the past.

        Raises:
            NullBoxError: `not_found`: never written, deleted or expired; the message says which.
        """
        with self.snapshot() as connection:
            row = connection.execute(
                f"SELECT {_COLUMNS} {_FROM} WHERE l.key = ? AND l.seq <= ? AND l.kind <> ? ORDER BY l.seq DESC LIMIT 1",
                (key, as_of, int(Kind.ERASE)),
            ).fetchone()
        if row is None:
            raise NullBoxError(ErrorCode.NOT_FOUND, f"the key {key[:80]!r} has never been written")
        entry = _entry(row)
        ended = {Kind.DELETE: "deleted", Kind.EXPIRE: "expired"}.get(entry.kind)
        if as_of == NEVER and 0 < entry.expires_ns <= self._clock_ns():
            ended = "expired"
        if ended:
            message = f"the key {key[:80]!r} has no live entry: it {'was ' * (ended == 'deleted')}{ended}"
            raise NullBoxError(ErrorCode.NOT_FOUND, message, {"seq": entry.seq})
        return entry

    def state(self) -> tuple[int, bytes, int]:
        """Size and root of the tree, and how far the full-text index reaches."""
        with self.snapshot() as connection:
            size, root, searchable = connection.execute("SELECT size, root, searchable FROM state").fetchone()
            return size, root, searchable

    # --- pages ----------------------------------------------------------------------------------------------

    def query(self, prefixes: Sequence[str], window: Window, limit: int, *, kinds: int = 1, as_of: int = NEVER) -> Page:
        """Records whose key begins with one of `prefixes`, in the order of the log."""
        with self.snapshot() as connection:
            (size,) = connection.execute("SELECT size FROM state").fetchone()
            window = Window(window.after, min(window.before, as_of + 1, size + 1), window.newest_first)
            seqs = select(connection, prefixes, window, limit + 1, kinds=kinds)
            more = len(seqs) > limit
            return _page(self._by_seq(connection, seqs[:limit], window), seqs[limit - 1] if more else None)

    def history(self, key: str, window: Window, limit: int) -> Page:
        """Everything that happened to a key: writes, deletions, expiries, erasures."""
        with self.snapshot() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} {_FROM} WHERE l.key = ? AND l.seq > ? AND l.seq < ?"
                f" ORDER BY l.seq {window.order} LIMIT ?",
                (key, window.after, window.before, limit + 1),
            )
            return _cut(rows, limit)

    def by_agent(self, agent_id: str, prefixes: Sequence[str], window: Window, limit: int) -> Page:
        """What one agent wrote, as far as it lies under `prefixes`.

        One call looks at no more than 50 times `limit` records, so a page may be short, even empty, and yet have a
        `next`.
        """
        allowed = tuple(prefixes)
        with self.snapshot() as connection:
            rows = connection.execute(
                "SELECT l.seq, l.key FROM log l INDEXED BY log_by_agent"
                " WHERE l.agent_id = ? AND l.seq > ? AND l.seq < ? AND l.kind = 0"
                f" ORDER BY l.seq {window.order} LIMIT ?",
                (agent_id, window.after, window.before, limit * 50),
            ).fetchall()
            seqs = [seq for seq, key in rows if key.startswith(allowed)]
            following = rows[-1][0] if len(rows) == limit * 50 else None
            if len(seqs) > limit:
                following = seqs[limit - 1]
            return _page(self._by_seq(connection, seqs[:limit], window), following)

    def agents(self) -> list[dict[str, Any]]:
        """Who has written, how many records and how many charged bytes."""
        with self.snapshot() as connection:
            rows = connection.execute("SELECT agent_id, entries, bytes FROM usage ORDER BY agent_id")
            return [{"agent_id": agent, "entries": entries, "bytes": size} for agent, entries, size in rows]

    def search(self, text: str, prefixes: Sequence[str], limit: int) -> list[Entry]:
        """Entries whose value holds all the words of `text`, best first (BM25). Erased ones are not found."""
        words = " ".join('"' + word.replace('"', '""') + '"' for word in text.split())
        if not words:
            raise NullBoxError(ErrorCode.INVALID, "search: give at least one word")
        allowed = tuple(prefixes)
        found: list[Entry] = []
        with self.snapshot() as connection:
            rows = connection.execute(
                f"SELECT {_COLUMNS} FROM search JOIN objects o ON o.seq = search.rowid"
                " JOIN log l ON l.seq = o.seq WHERE search MATCH ? ORDER BY rank",
                (words,),
            )
            for row in rows:
                if row[2].startswith(allowed):
                    found.append(_entry(row))
                    if len(found) == limit:
                        break
        return found

    def _by_seq(self, connection: sqlite3.Connection, seqs: Sequence[int], window: Window) -> Iterable[Any]:
        if not seqs:
            return ()
        marks = ",".join("?" * len(seqs))
        return connection.execute(
            f"SELECT {_COLUMNS} {_FROM} WHERE l.seq IN ({marks}) ORDER BY l.seq {window.order}",
            seqs,
        )


def _entry(row: Sequence[Any]) -> Entry:
    return Entry(row[0], row[1], row[2], row[3], row[4], row[5], Kind(row[6]), row[7])


def _page(rows: Iterable[Any], following: int | None) -> Page:
    """As many of the rows as fit an answer; `following` is the cursor if all do."""
    entries: list[Entry] = []
    room = PAGE_BYTES
    for row in rows:
        entry = _entry(row)
        room -= answer_size(entry)
        if room < 0 and entries:
            return Page(entries, entries[-1].seq)
        entries.append(entry)
    return Page(entries, following)


def _cut(rows: Iterable[Any], limit: int) -> Page:
    found = list(rows)
    return _page(found[:limit], found[limit - 1][4] if len(found) > limit else None)


def answer_size(entry: Entry) -> int:
    """At most so many bytes of an ASCII JSON answer come from this entry."""
    return 400 + _escaped(entry.key) + _escaped(entry.text or "")


def _escaped(text: str) -> int:
    # Two bytes of UTF-8 become \uXXXX, four become a surrogate pair: three times as many either way.
    return len(text) if text.isascii() else 3 * len(text.encode("utf-8"))

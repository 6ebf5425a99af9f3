"""The store's one writer: SQLite in WAL mode, one transaction per group. Effects: the database file and its lock.

A group is durable when `apply` returns (`synchronous=FULL`: the WAL is synced before a commit returns,
https://sqlite.org/pragma.html#pragma_synchronous). Not thread-safe: one thread at a time uses a Store.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nullbox.ctxgraph import faults, schema
from nullbox.ctxgraph.access import HOST_AGENT
from nullbox.ctxgraph.batch import Ack, Changes, Expire, Op, decide
from nullbox.ctxgraph.entry import Entry
from nullbox.ctxgraph.lookup import SqlLookup
from nullbox.ctxgraph.merkle import Frontier, peaks
from nullbox.ctxgraph.quota import Limits, Usage
from nullbox.ctxgraph.replay import repeat
from nullbox.ctxgraph.tiles import tile_source
from nullbox.protocols.errors import ErrorCode, NullBoxError

GROUP = 64
"""Most operations of one transaction."""
RESTORE_PAUSE_NS = 60 * 10**9
"""Between two groups of restored records. After that the restore counts as over, and what has ended is recorded."""
PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "cache_size = -8192",
    "temp_store = MEMORY",
    "secure_delete = ON",
    "journal_size_limit = 16777216",
)

Outcome = Ack | NullBoxError


def default_limits(agent_id: str) -> Limits | None:
    """Agents get the default quota, the operator none."""
    return None if agent_id == HOST_AGENT else Limits()


class Store:
    """An open store, locked against a second writer.

    Raises (constructor):
        NullBoxError: `unavailable`: locked by another process, damaged, of another program or a newer version.
        OSError: the folder cannot be made or the lock file not opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        limits: Callable[[str], Limits | None] = default_limits,
    ) -> None:
        self.path = path
        self.failed: NullBoxError | None = None
        self._clock_ns = clock_ns
        self._limits = limits
        self._restoring_until_ns = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = _lock(path.with_name(path.name + ".lock"))
        try:
            self._connection = _connect(path)
            try:
                self._load()
            except BaseException:
                self._connection.close()
                raise
        except BaseException as error:
            os.close(self._lock)
            if isinstance(error, sqlite3.Error):
                raise faults.explain(error) from error
            raise

    # --- state ----------------------------------------------------------------------------------------------

    def _load(self) -> None:
        schema.prepare(self._connection)
        execute = self._connection.execute
        size, root = execute("SELECT size, root FROM state").fetchone()
        last = execute("SELECT seq, ts_ns FROM log ORDER BY seq DESC LIMIT 1").fetchone() or (0, 0)
        if last[0] != size:
            message = f"the log ends at {last[0]}, the tree at {size}: the store is damaged; restore a copy"
            raise NullBoxError(ErrorCode.UNAVAILABLE, message)
        self.lookup = SqlLookup(self._connection)
        self._frontier = Frontier(size, peaks(tile_source(self._connection), size))
        if self._frontier.root() != root:
            message = "the log's last records do not match the tree's root: the store is damaged. Restore a copy"
            raise NullBoxError(ErrorCode.UNAVAILABLE, message)
        self._last_ns = last[1]
        rows = execute("SELECT agent_id, entries, bytes FROM usage")
        self._usage = {agent: Usage(entries, size) for agent, entries, size in rows}
        self.searchable: int = execute("SELECT searchable FROM state").fetchone()[0]

    @property
    def size(self) -> int:
        """Records in the log; also the `seq` of the last one."""
        return self._frontier.size

    def root(self) -> bytes:
        return self._frontier.root()

    def usage(self, agent_id: str) -> Usage:
        return self._usage.get(agent_id, Usage())

    # --- writing --------------------------------------------------------------------------------------------

    def apply(self, ops: Sequence[Op]) -> list[Outcome]:
        """Do the operations in order, as one durable transaction. One outcome each; never raises for the world.

        When the transaction fails, nothing of it is there; the operations are then tried one by one, so that one
        that does not fit on the disk does not take its neighbours with it.
        """
        if self.failed is not None:
            return [self.failed] * len(ops)
        try:
            return self._apply(list(ops))
        except sqlite3.Error as error:
            failed = self.fail_if_fatal(error)
            if failed is not None or len(ops) == 1:
                return [failed or faults.explain(error)] * len(ops)
        return [outcome for op in ops for outcome in self.apply([op])]

    def _apply(self, ops: list[Op]) -> list[Outcome]:
        now_ns = max(self._clock_ns(), self._last_ns)
        with self._transaction():
            changes, outcomes = decide(ops, self.lookup, self._frontier, now_ns, self._usage, self._limits)
            self._insert(changes)
        self._adopt(changes)
        return outcomes

    def replay(self, records: Sequence[Entry]) -> None:
        """Append records of another store as they are, seq and time included, as one durable transaction.

        Raises:
            NullBoxError: `invalid`: a record that cannot follow here, or whose value does not match its hash;
                `unavailable`: SQLite failed. Nothing of these records is stored then.
        """
        self._restoring_until_ns = self._clock_ns() + RESTORE_PAUSE_NS
        try:
            with self._transaction():
                changes = repeat(records, self.lookup, self._frontier, self._last_ns, self._usage)
                self._insert(changes)
        except sqlite3.Error as error:
            raise faults.explain(error) from error
        self._adopt(changes)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Durable when it ends; of one that raises nothing is there."""
        execute = self._connection.execute
        execute("BEGIN IMMEDIATE")
        try:
            yield
            execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                execute("ROLLBACK")
            raise

    def _adopt(self, changes: Changes) -> None:
        """Go on from what was committed."""
        changes.frontier.tiles.clear()
        self._frontier = changes.frontier
        self._last_ns = changes.ts_ns
        self._usage.update(changes.usage)
        if changes.payload:
            # Otherwise the old text would stay readable in the WAL file.
            self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _insert(self, changes: Changes) -> None:
        if not changes.log and not changes.ttl_done:
            return
        insert = self._insert_rows
        insert("INSERT INTO objects (seq, hash, value)", changes.objects)
        insert("INSERT INTO log (seq, ts_ns, kind, agent_id, key, object, expires_ns)", changes.log)
        if changes.edges:
            insert("INSERT INTO edges (child, parent)", changes.edges)
        if changes.ttl:
            insert("INSERT INTO ttl (expires_ns, seq)", changes.ttl)
        if changes.frontier.tiles:
            insert("INSERT INTO tiles (level, number, hash)", changes.frontier.tiles)
        insert(
            "INSERT OR REPLACE INTO usage (agent_id, entries, bytes)",
            [(agent, usage.entries, usage.size) for agent, usage in changes.usage.items()],
        )
        for row in changes.ttl_done:
            self._connection.execute("DELETE FROM ttl WHERE expires_ns = ? AND seq = ?", row)
        for seq, text in changes.payload.items():
            self._replace_payload(seq, text)
        head = (changes.frontier.size, changes.frontier.root())
        self._connection.execute("UPDATE state SET size = ?, root = ?", head)

    def _insert_rows(self, statement: str, rows: Sequence[tuple[Any, ...]]) -> None:
        """Many rows by one statement: each step of SQLite gives up the interpreter's lock, and getting it back from
        a busy event loop costs more than the insertion."""
        if len(rows) == 1:
            self._connection.execute(_with_rows(statement, len(rows[0]), 1), rows[0])
            return
        for start in range(0, len(rows), GROUP):
            part = rows[start : start + GROUP]
            sql = _with_rows(statement, len(part[0]), len(part))
            self._connection.execute(sql, [value for row in part for value in row])

    def _replace_payload(self, seq: int, text: str | None) -> None:
        execute = self._connection.execute
        if seq <= self.searchable:
            (old,) = execute("SELECT value FROM objects WHERE seq = ?", (seq,)).fetchone()
            if old is not None:
                execute("INSERT INTO search (search, rowid, value) VALUES ('delete', ?, ?)", (seq, old))
                # Deleting marks the words as gone; only a merge takes them out of the file.
                execute("INSERT INTO search (search) VALUES ('optimize')")
            if text is not None:
                execute("INSERT INTO search (rowid, value) VALUES (?, ?)", (seq, text))
        execute("UPDATE objects SET value = ? WHERE seq = ?", (text, seq))

    # --- what goes on behind the writes ---------------------------------------------------------------------

    def due(self, limit: int = GROUP) -> list[Expire]:
        """Writes whose time is over and is not recorded yet, oldest first; none while a log is being restored, which
        has these records itself."""
        if self._clock_ns() < self._restoring_until_ns:
            return []
        rows = self._connection.execute(
            "SELECT t.seq, l.key, t.expires_ns FROM ttl t JOIN log l ON l.seq = t.seq"
            " WHERE t.expires_ns <= ? ORDER BY t.expires_ns LIMIT ?",
            (max(self._clock_ns(), self._last_ns), limit),
        )
        return [Expire(*row) for row in rows]

    def index(self, limit: int) -> int:
        """Put up to `limit` more records into the full-text index; returns how many are still missing."""
        if self.failed is not None:
            return 0
        upto = min(self.size, self.searchable + limit)
        if upto > self.searchable:
            try:
                with self._transaction():
                    self._connection.execute(
                        "INSERT INTO search (rowid, value) SELECT seq, value FROM objects"
                        " WHERE seq > ? AND seq <= ? AND value IS NOT NULL",
                        (self.searchable, upto),
                    )
                    self._connection.execute("UPDATE state SET searchable = ?", (upto,))
                self.searchable = upto
            except sqlite3.Error as error:
                self.fail_if_fatal(error)
                raise faults.explain(error) from error
        return self.size - self.searchable

    def fail_if_fatal(self, error: sqlite3.Error) -> NullBoxError | None:
        """Take no more writes after such an error (`faults.FATAL`); what they get, or None if it passes."""
        if faults.is_fatal(error):
            self.failed = faults.explain(error)
        return self.failed

    def close(self) -> None:
        """Checkpoint and close. Safe to call twice."""
        if self._lock >= 0:
            self._connection.close()
            os.close(self._lock)
            self._lock = -1


def _with_rows(statement: str, columns: int, rows: int) -> str:
    key = (statement, columns, rows)
    sql = _STATEMENTS.get(key)
    if sql is None:
        one = "(" + ",".join("?" * columns) + ")"
        sql = _STATEMENTS[key] = f"{statement} VALUES " + ",".join([one] * rows)
    return sql


_STATEMENTS: dict[tuple[str, int, int], str] = {}


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, isolation_level=None, check_same_thread=False, cached_statements=256, timeout=5.0
    )
    path.chmod(0o600)
    for pragma in PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    return connection


def _lock(path: Path) -> int:
    """Hold an advisory lock (flock(2)) for as long as the store is open; the kernel drops it with the process."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        message = f"another process has {path.name.removesuffix('.lock')} open; only one may write to it"
        raise NullBoxError(ErrorCode.UNAVAILABLE, message) from None
    return fd

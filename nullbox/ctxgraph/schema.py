"""The tables of the store, and how a store of an older version gets them. Effects: changes the database it is given.

A new store is made by the statements of `CURRENT`; an older one goes through `MIGRATIONS`, which use sqlite-utils.
That package costs 80 ms of import (seconds under emulation), so only a migration pays for it. A test holds the
two ways equal, table by table.

Tables (all STRICT):

objects  `seq` of the record that first named it; `hash`; `value`, canonical JSON or NULL once erased.
log      one row per record, in order; `object` is the objects.seq that it names.
edges    child object → hash of a parent that its envelope names.
ttl      writes that end by themselves and have not yet.
tiles    every complete node of the Merkle tree on a tile level above the leaves.
usage    objects and bytes per author, for quotas.
state    one row: size and root of the tree. `PRAGMA user_version` is the version of the schema.
search   FTS5 index over objects.value, filled behind the log up to state.searchable.
"""

# ruff: noqa: S608 - statements are put together from fixed texts and marks; every value is bound

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

APPLICATION_ID = 0x6E626378
"""`nbcx`, in the file's header: tells a ctxgraph store from any other SQLite file."""
VERSION = 2

_V1 = """
CREATE TABLE objects (seq INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, value TEXT) STRICT;
CREATE TABLE log (
    seq INTEGER PRIMARY KEY, ts_ns INTEGER NOT NULL, kind INTEGER NOT NULL, agent_id TEXT NOT NULL,
    key TEXT NOT NULL, object INTEGER NOT NULL, expires_ns INTEGER NOT NULL
) STRICT;
CREATE INDEX log_by_key ON log (key);
CREATE INDEX log_by_agent ON log (agent_id);
CREATE TABLE edges (
    child INTEGER NOT NULL, parent BLOB NOT NULL, PRIMARY KEY (child, parent)
) STRICT, WITHOUT ROWID;
CREATE INDEX edges_by_parent ON edges (parent);
CREATE TABLE ttl (
    expires_ns INTEGER NOT NULL, seq INTEGER NOT NULL, PRIMARY KEY (expires_ns, seq)
) STRICT, WITHOUT ROWID;
CREATE TABLE tiles (
    level INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (level, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE usage (agent_id TEXT PRIMARY KEY, entries INTEGER NOT NULL, bytes INTEGER NOT NULL) STRICT;
CREATE TABLE state (
    one INTEGER PRIMARY KEY CHECK (one = 1), size INTEGER NOT NULL, root BLOB NOT NULL
) STRICT;
"""

_V2 = """
ALTER TABLE state ADD COLUMN searchable INTEGER NOT NULL DEFAULT 0;
CREATE VIRTUAL TABLE search USING fts5(value, content='objects', content_rowid='seq');
"""

CURRENT = _V1 + _V2


def _add_search(db: Any) -> None:
    """1 → 2: full-text search. The index fills by itself afterwards, from `searchable` on."""
    db["state"].add_column("searchable", int, not_null_default=0)
    db.execute("CREATE VIRTUAL TABLE search USING fts5(value, content='objects', content_rowid='seq')")


MIGRATIONS: dict[int, Callable[[Any], None]] = {1: _add_search}
"""From that version to the next. Each runs in one transaction with the new version number."""


def prepare(connection: sqlite3.Connection) -> None:
    """Bring an open database to the current schema: create, migrate, or leave as it is.

    Raises:
        NullBoxError: `unavailable`: the file is something else, or was written by a newer NullBox.
    """
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    if application not in (0, APPLICATION_ID) or (version and application == 0):
        message = f"the file is a database of another program (application_id {application:#x}); move it away"
        raise NullBoxError(ErrorCode.UNAVAILABLE, message)
    if version > VERSION:
        message = f"the store has schema {version}, this NullBox knows up to {VERSION}; use the newer NullBox"
        raise NullBoxError(ErrorCode.UNAVAILABLE, message)
    if application == 0:
        create(connection)
    elif version < VERSION:
        migrate(connection, version)


def create(connection: sqlite3.Connection) -> None:
    """Make all tables in an empty database, in one transaction."""
    from nullbox.ctxgraph.merkle import EMPTY_ROOT

    if connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        message = "the file is a database of another program; move it away"
        raise NullBoxError(ErrorCode.UNAVAILABLE, message)
    connection.executescript(
        f"BEGIN IMMEDIATE; {CURRENT}"
        f"INSERT INTO state (one, size, root) VALUES (1, 0, x'{EMPTY_ROOT.hex()}');"
        f"PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION}; COMMIT;"
    )


def migrate(connection: sqlite3.Connection, version: int) -> None:
    """Run every migration from `version` to VERSION; a failing one changes nothing."""
    import sqlite_utils

    db = sqlite_utils.Database(connection)
    for old in range(version, VERSION):
        connection.execute("BEGIN IMMEDIATE")
        try:
            MIGRATIONS[old](db)
            connection.execute(f"PRAGMA user_version = {old + 1}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

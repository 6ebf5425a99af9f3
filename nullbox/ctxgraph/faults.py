"""What SQLite's errors mean for the store: which are passing, and after which nothing may be written. Pure."""

from __future__ import annotations

import sqlite3

from nullbox.protocols.errors import ErrorCode, NullBoxError

FATAL = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
"""Primary result codes after which the writer stops for good. After a failed fsync the kernel may have dropped the
pages, so a second try could claim a durability that is not there; only a reopening reads what the disk really has.
"""

_MEANING = {
    sqlite3.SQLITE_FULL: "the disk is full; nothing of this write was stored. Free space and write again",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write; the store takes no writes until it is reopened",
    sqlite3.SQLITE_CORRUPT: "a page of the store is damaged; no more writes are taken. Restore a copy",
    sqlite3.SQLITE_NOTADB: "the file is no SQLite database; move it away or restore a copy",
    sqlite3.SQLITE_READONLY: "the store's file system is read-only",
    sqlite3.SQLITE_BUSY: "another process holds the store; only one may write",
    sqlite3.SQLITE_LOCKED: "another process holds the store; only one may write",
    sqlite3.SQLITE_CANTOPEN: "the store's file cannot be opened; look at its folder's mode and owner",
    sqlite3.SQLITE_INTERRUPT: "the query took too long and was stopped; ask for less",
}


def primary(error: sqlite3.Error) -> int:
    """The primary result code (the low byte of the extended one); 1 if SQLite gave none."""
    return (getattr(error, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR) & 0xFF


def is_fatal(error: sqlite3.Error) -> bool:
    return primary(error) in FATAL


def explain(error: sqlite3.Error) -> NullBoxError:
    """The error for a client: what SQLite said and what it means."""
    code = primary(error)
    meaning = _MEANING.get(code, "the store failed")
    name = getattr(error, "sqlite_errorname", "") or type(error).__name__
    word = ErrorCode.TIMEOUT if code == sqlite3.SQLITE_INTERRUPT else ErrorCode.UNAVAILABLE
    return NullBoxError(word, f"{meaning} (SQLite: {error}, {name})", {"sqlite": name})

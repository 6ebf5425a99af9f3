"""Move what was committed from SQLite's write-ahead log into the database, beside the writer. Effects: one thread.

SQLite would do it in the commit that makes the log long: one in about a hundred single writes would wait until the
others are copied, and for two syncs. Here a thread with a connection of its own does it earlier, in two steps: nearly
all while the writer goes on (https://sqlite.org/wal.html#concurrency), then, with the writer held up for a moment, what
was added meanwhile, since only a log that is copied to its end is begun anew. SQLite's own limit of 1,000 pages stays,
for readers may keep this one from the end.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

from nullbox.protocols.errors import NullBoxError

log = logging.getLogger(__name__)

PAGES = 400
"""Pages of log, as far as they can be told, that are worth a checkpoint."""
PAGES_OF_A_COMMIT = 6
PAGES_OF_A_RECORD = 2.5
"""What a commit adds to the log: the last pages of the tables, and of each record's random places in the indexes."""


class Checkpointer:
    """See the module.

    turn: who holds it has the store to himself.
    on_error: told of a failed checkpoint; what ends them all, or None (`Store.fail_if_fatal`).
    """

    def __init__(
        self, path: Path, turn: threading.Lock, on_error: Callable[[sqlite3.Error], NullBoxError | None]
    ) -> None:
        self._path = path
        self._turn = turn
        self._on_error = on_error
        self._pages = 0.0
        self._due = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ctxgraph-checkpoint", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def note(self, records: int) -> None:
        """A commit added so many records. Call it from one thread at a time."""
        self._pages += PAGES_OF_A_COMMIT + PAGES_OF_A_RECORD * records
        if self._pages >= PAGES:
            self._pages = 0.0
            self._due.set()

    def stop(self, timeout: float = 10.0) -> None:
        """End the thread."""
        self._stopping = True
        self._due.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        connection = sqlite3.connect(self._path, isolation_level=None, timeout=0.0)
        try:
            connection.execute("PRAGMA synchronous = FULL")
            while True:
                self._due.wait()
                self._due.clear()
                if self._stopping or not self._checkpoint(connection):
                    return
        finally:
            connection.close()

    def _checkpoint(self, connection: sqlite3.Connection) -> bool:
        """As much as readers allow; False if the disk failed."""
        try:
            connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
            with self._turn:
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        except sqlite3.Error as error:
            log.warning("a checkpoint failed: %s", error)
            return self._on_error(error) is None
        return True

"""Every older version becomes the current one, and a new store is the same as a migrated one."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from nullbox.ctxgraph import evidence, schema
from nullbox.ctxgraph.batch import Ack, Write
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.store import Store
from nullbox.protocols.errors import NullBoxError


def shape(connection: sqlite3.Connection) -> dict[str, object]:
    """What a schema means: columns with types and constraints, and indexes."""
    tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    return {
        table: (
            connection.execute(f"SELECT * FROM pragma_table_info('{table}')").fetchall(),
            sorted(
                (index, *connection.execute(f"SELECT name FROM pragma_index_info('{index}')").fetchall())
                for index, *_ in connection.execute(f"SELECT name FROM pragma_index_list('{table}')").fetchall()
            ),
        )
        for table in sorted(tables)
    }


def at_version_1(path: Path) -> None:
    """A store as schema 1 left it: no full-text index, and `state` without `searchable`."""
    store = Store(path)
    store.close()
    connection = sqlite3.connect(path, isolation_level=None)
    for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall():
        if name in {"objects", "log", "edges", "ttl", "tiles", "usage", "state", "search"}:
            connection.execute(f"DROP TABLE {name}")
    connection.executescript(schema._V1)
    connection.execute("INSERT INTO state (one, size, root) VALUES (1, 0, ?)", (evidence.Frontier().root(),))
    connection.execute("PRAGMA user_version = 1")
    connection.close()


OLDER: dict[int, Callable[[Path], None]] = {1: at_version_1}


def test_every_older_version_has_a_migration_and_a_test() -> None:
    assert sorted(schema.MIGRATIONS) == list(range(1, schema.VERSION)) == sorted(OLDER)


@pytest.mark.parametrize("version", sorted(OLDER))
def test_a_migrated_store_is_as_a_new_one(
    version: int, tmp_path: Path, write: Callable[..., Write], put: Callable[..., list[Ack]]
) -> None:
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    OLDER[version](old)
    Store(new).close()
    store = Store(old)
    put(store, write("a", "k", "words to find"))
    while store.index(10):
        pass
    assert [entry.seq for entry in Reader(old).search("words", [""], 5)] == [1]
    assert evidence.audit(Reader(old))["ok"]
    store.close()
    with sqlite3.connect(old) as migrated, sqlite3.connect(new) as fresh:
        assert shape(migrated) == shape(fresh)
        assert migrated.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def test_old_records_survive_a_migration(path: Path) -> None:
    at_version_1(path)
    connection = sqlite3.connect(path, isolation_level=None)
    from nullbox.ctxgraph.entry import entry_hash
    from nullbox.ctxgraph.merkle import Frontier, leaf_data, leaf_hash

    address, frontier = entry_hash("a", "k", b'"old"'), Frontier()
    frontier.append(leaf_hash(leaf_data(0, 1, 5, 0, address, "a", "k")))
    connection.execute("INSERT INTO objects VALUES (1, ?, '\"old\"')", (address,))
    connection.execute("INSERT INTO log VALUES (1, 5, 0, 'a', 'k', 1, 0)")
    connection.execute("UPDATE state SET size = 1, root = ?", (frontier.root(),))
    connection.close()
    store = Store(path)
    assert Reader(path).latest("k").text == '"old"'
    while store.index(10):
        pass
    assert len(Reader(path).search("old", [""], 5)) == 1
    store.close()


def test_a_failing_migration_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at_version_1(path)
    with sqlite3.connect(path) as connection:
        before = shape(connection)

    def broken(db: object) -> None:
        schema._add_search(db)
        raise RuntimeError("half way")

    monkeypatch.setitem(schema.MIGRATIONS, 1, broken)
    with pytest.raises(RuntimeError, match="half way"):
        Store(path)
    with sqlite3.connect(path) as connection:
        assert shape(connection) == before
        assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    monkeypatch.undo()
    Store(path).close()


def test_a_newer_store_is_refused(path: Path) -> None:
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {schema.VERSION + 1}")
    with pytest.raises(NullBoxError, match="use the newer NullBox"):
        Store(path)


def test_opening_a_current_store_imports_no_migration_tool(path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from nullbox.ctxgraph.store import Store\n"
        f"Store(Path({str(path)!r})).close()\n"
        "assert not {'sqlite_utils', 'click', 'rfc8785'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)

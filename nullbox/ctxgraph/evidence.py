"""Make proofs and audit a whole store. Effects: reads the database through a Reader."""

from __future__ import annotations

import json
import sqlite3
import time
from typing import Any

from nullbox.ctxgraph.entry import Kind, entry_hash, parents_of
from nullbox.ctxgraph.merkle import (
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_data,
    leaf_hash,
    range_root,
)
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.tiles import tile_source
from nullbox.protocols.errors import ErrorCode, NullBoxError

MAX_PROBLEMS = 100
AUDIT_SECONDS = 600.0


def root_at(reader: Reader, size: int | None = None) -> dict[str, Any]:
    """The checkpoint of the log's first `size` records; of all of them unless given."""
    with reader.snapshot() as connection:
        return _checkpoint(connection, size)


def prove(reader: Reader, seq: int, size: int | None = None) -> dict[str, Any]:
    """Proof that record `seq` is in the log of `size` records; `proofs.check_inclusion` checks it.

    Raises:
        NullBoxError: `not_found`, there is no such record (at that size).
    """
    with reader.snapshot() as connection:
        checkpoint = _checkpoint(connection, size)
        row = connection.execute(
            "SELECT l.seq, l.ts_ns, l.kind, l.expires_ns, o.hash, l.agent_id, l.key FROM log l"
            " JOIN objects o ON o.seq = l.object WHERE l.seq = ?",
            (seq,),
        ).fetchone()
        if row is None or seq > checkpoint["size"]:
            raise NullBoxError(ErrorCode.NOT_FOUND, f"no record {seq} in a log of {checkpoint['size']}")
        record = dict(zip(("seq", "ts_ns", "kind", "expires_ns", "hash", "agent_id", "key"), row, strict=True))
        record["hash"] = record["hash"].hex()
        path = inclusion_proof(tile_source(connection), seq - 1, checkpoint["size"])
        return {**checkpoint, "record": record, "path": [step.hex() for step in path]}


def consistency(reader: Reader, size: int, root: str | None, new_size: int | None = None) -> dict[str, Any]:
    """Proof that the log still begins with the `size` records that had `root`.

    Raises:
        NullBoxError: `conflict`: the log of that size has another root, so it was rewritten, or the checkpoint is
            of another store; `invalid`: the log is shorter.
    """
    with reader.snapshot() as connection:
        new = _checkpoint(connection, new_size)
        if size > new["size"]:
            message = f"the log has {new['size']} records, fewer than the checkpoint's {size}"
            raise NullBoxError(ErrorCode.CONFLICT, message, new)
        old = _checkpoint(connection, size)
        if root is not None and old["root"] != root:
            message = f"the first {size} records have the root {old['root']}, not {root}: rewritten, or another store"
            raise NullBoxError(ErrorCode.CONFLICT, message, old)
        path = consistency_proof(tile_source(connection), size, new["size"])
        return {"old": old, "new": new, "path": [step.hex() for step in path]}


def audit(reader: Reader) -> dict[str, Any]:
    """Recompute everything: SQLite's structure, every address, every leaf, the whole tree, the derived tables.

    Returns `{"ok", "size", "root", "objects", "erased", "problems", "seconds"}`; at most MAX_PROBLEMS problems,
    each a sentence that names the record.
    """
    started = time.monotonic()
    with reader.snapshot(AUDIT_SECONDS) as connection:
        found = _Audit(connection)
        try:
            found.run()
        except sqlite3.DatabaseError as error:
            found.problem(f"the database cannot be read to the end: {error}")
        return {
            "ok": not found.problems,
            "size": found.frontier.size,
            "root": found.frontier.root().hex(),
            "objects": found.objects,
            "erased": found.erased,
            "problems": found.problems,
            "seconds": round(time.monotonic() - started, 3),
        }


class _Audit:
    """One walk over the log."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.execute = connection.execute
        self.frontier = Frontier()
        self.problems: list[str] = []
        self.objects = 0
        self.erased = 0

    def problem(self, text: str) -> None:
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(text)

    def run(self) -> None:
        for (line,) in self.execute("PRAGMA integrity_check(10)"):
            if line != "ok":
                self.problem(f"SQLite: {line}")
        self._walk()
        self._compare_tree()
        (objects,) = self.execute("SELECT count(*) FROM objects").fetchone()
        if objects != self.objects:
            self.problem(f"{objects} objects are stored, the log names {self.objects}")

    def _walk(self) -> None:
        rows = self.execute(
            "SELECT l.seq, l.ts_ns, l.kind, l.agent_id, l.key, l.object, l.expires_ns, o.hash,"
            " CASE WHEN l.seq = o.seq THEN o.value END, o.value IS NULL, f.agent_id, f.key"
            " FROM log l LEFT JOIN objects o ON o.seq = l.object LEFT JOIN log f ON f.seq = l.object ORDER BY l.seq"
        )
        last_ns = 0
        unexplained: set[int] = set()
        for seq, ts_ns, kind, agent, key, target, expires, address, text, erased, author, first_key in rows:
            if seq != self.frontier.size + 1:
                self.problem(f"record {self.frontier.size + 1} is missing; {seq} follows")
                return
            if address is None or author is None:
                self.problem(f"record {seq} names object {target}, which is missing")
                return
            self.frontier.append(leaf_hash(leaf_data(kind, seq, ts_ns, expires, address, agent, key)))
            if ts_ns < last_ns:
                self.problem(f"record {seq} is older than the one before it")
            last_ns = ts_ns
            if key != first_key or (kind == Kind.WRITE and agent != author):
                self.problem(f"record {seq} names an object of {author!r} under {first_key!r}")
            if seq == target:
                self._object(seq, agent, key, address, text, bool(erased))
                if erased:
                    unexplained.add(seq)
            if kind == Kind.ERASE:
                unexplained.discard(target)
        for seq in sorted(unexplained):
            self.problem(f"the payload of object {seq} is gone and no record says that it was erased")

    def _object(self, seq: int, agent: str, key: str, address: bytes, text: str | None, erased: bool) -> None:
        self.objects += 1
        if erased or text is None:
            self.erased += 1
            return
        found = entry_hash(agent, key, text.encode())
        if found != address:
            self.problem(f"record {seq}: value, key and author hash to {found.hex()}, stored is {address.hex()}")
            return
        stored = [row[0] for row in self.execute("SELECT parent FROM edges WHERE child = ?", (seq,))]
        named = parents_of(json.loads(text)) if text.startswith('{"$ctxgraph"') else []
        if sorted(bytes.fromhex(parent) for parent in named) != sorted(stored):
            self.problem(f"record {seq}: the graph does not have the parents that its value names")

    def _compare_tree(self) -> None:
        size, root = self.execute("SELECT size, root FROM state").fetchone()
        if (size, root) != (self.frontier.size, self.frontier.root()):
            self.problem(
                f"the tree was left at {size} records with root {root.hex()}, the log gives {self.frontier.size}"
                f" with {self.frontier.root().hex()}"
            )
        stored = {(level, number): node for level, number, node in self.execute("SELECT * FROM tiles")}
        computed = {(level, number): node for level, number, node in self.frontier.tiles}
        for where in sorted(stored.keys() | computed.keys()):
            if stored.get(where) != computed.get(where):
                level, number = where
                first = number << (8 * level)
                last = first + (1 << (8 * level))
                self.problem(f"records {first + 1} to {last} do not match the tree's node {level}/{number}")


def _checkpoint(connection: sqlite3.Connection, size: int | None) -> dict[str, Any]:
    now, root = connection.execute("SELECT size, root FROM state").fetchone()
    if size is None or size == now:
        return {"size": now, "root": root.hex()}
    if not 0 <= size < now:
        raise NullBoxError(ErrorCode.INVALID, f"the log has {now} records, not {size}; give 0 to {now}")
    return {"size": size, "root": range_root(tile_source(connection), 0, size).hex()}

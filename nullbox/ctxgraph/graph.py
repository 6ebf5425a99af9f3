"""Where did this come from, and what came of it: walk the parents that entries name. Effects: reads the database."""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Sequence
from typing import Any

from nullbox.ctxgraph.access import Rights
from nullbox.ctxgraph.reader import Reader
from nullbox.protocols.errors import ErrorCode, NullBoxError

DIRECTIONS = ("ancestors", "descendants")
MAX_DEPTH = 100
MAX_NODES = 1000


def walk(
    reader: Reader, rights: Rights, start: bytes, direction: str, depth: int = 10, limit: int = 200
) -> dict[str, Any]:
    """The entries that `start` was made from (`ancestors`), or that were made from it, breadth first.

    Returns `{"nodes": [{hash, agent_id, key, seq, ts_ns, depth}], "edges": [[child, parent]], "truncated"}`. An
    entry outside the caller's read prefixes is a node with `hidden` and its hash only, and is not walked through.
    Parents are named by hash, so there is no cycle; an entry that is reached twice is one node.

    Raises:
        NullBoxError: `not_found`, no such entry; `denied`, it is outside the read prefixes.
    """
    nodes: dict[bytes, dict[str, Any]] = {}
    edges: set[tuple[bytes, bytes]] = set()
    truncated = False
    with reader.snapshot() as connection:
        first = _node(connection, start, 0)
        if first is None:
            raise NullBoxError(ErrorCode.NOT_FOUND, f"no entry {start.hex()}")
        rights.check_read(first["key"])
        nodes[start] = first
        waiting = deque([start])
        while waiting:
            here = waiting.popleft()
            level = nodes[here]["depth"] + 1
            for there in _neighbours(connection, nodes[here]["seq"], here, direction):
                if there not in nodes:
                    if level > depth or len(nodes) >= limit:
                        truncated = True
                        continue
                    node = _node(connection, there, level)
                    if node is None or not rights.may_read(node["key"]):
                        nodes[there] = {"hash": there.hex(), "depth": level, "hidden": True}
                    else:
                        nodes[there] = node
                        waiting.append(there)
                edges.add((here, there) if direction == "ancestors" else (there, here))
    shown = sorted((child.hex(), parent.hex()) for child, parent in edges)
    return {"nodes": list(nodes.values()), "edges": [list(edge) for edge in shown], "truncated": truncated}


def _node(connection: sqlite3.Connection, address: bytes, depth: int) -> dict[str, Any] | None:
    row = connection.execute(
        "SELECT l.agent_id, l.key, l.seq, l.ts_ns FROM objects o JOIN log l ON l.seq = o.seq WHERE o.hash = ?",
        (address,),
    ).fetchone()
    if row is None:
        return None
    agent, key, seq, ts_ns = row
    return {"hash": address.hex(), "agent_id": agent, "key": key, "seq": seq, "ts_ns": ts_ns, "depth": depth}


def _neighbours(connection: sqlite3.Connection, seq: int, address: bytes, direction: str) -> Sequence[bytes]:
    if direction == "ancestors":
        rows = connection.execute("SELECT parent FROM edges WHERE child = ? ORDER BY parent LIMIT 1001", (seq,))
    else:
        rows = connection.execute(
            "SELECT o.hash FROM edges e JOIN objects o ON o.seq = e.child WHERE e.parent = ?"
            " ORDER BY e.child LIMIT 1001",
            (address,),
        )
    return [row[0] for row in rows]

"""Hashes of the Merkle tree as the tables hold them. Effects: reads the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from nullbox.ctxgraph.merkle import Tiles, leaf_data, leaf_hash
from nullbox.protocols.errors import ErrorCode, NullBoxError


def tile_source(connection: sqlite3.Connection) -> Tiles:
    """`merkle.Tiles` on a connection. Leaves are computed from their records, so a changed record shows.

    The source raises NullBoxError `unavailable` where a record or a tile is missing.
    """

    def tiles(level: int, first: int, count: int) -> Sequence[bytes]:
        if level == 0:
            rows = connection.execute(
                "SELECT l.kind, l.seq, l.ts_ns, l.expires_ns, o.hash, l.agent_id, l.key FROM log l"
                " JOIN objects o ON o.seq = l.object WHERE l.seq > ? AND l.seq <= ? ORDER BY l.seq",
                (first, first + count),
            )
            found = [leaf_hash(leaf_data(*row)) for row in rows]
        else:
            rows = connection.execute(
                "SELECT hash FROM tiles WHERE level = ? AND number >= ? AND number < ? ORDER BY number",
                (level, first, first + count),
            )
            found = [row[0] for row in rows]
        if len(found) != count:
            message = f"{count - len(found)} of {count} nodes from {first} on level {level} are missing: damaged"
            raise NullBoxError(ErrorCode.UNAVAILABLE, f"{message}; restore a copy of the store")
        return found

    return tiles

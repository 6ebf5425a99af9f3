"""Bring the records of an export back, as they were. Effects: writes to the store it is given.

A restored record keeps its author, its number and its time, so every proof and checkpoint of the old log holds for the
new one. That is possible only where the store's log is the beginning of the exported one: empty, or partly restored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from nullbox.ctxgraph.entry import Entry
from nullbox.ctxgraph.lines import leaf_of
from nullbox.ctxgraph.merkle import leaf_data, leaf_hash
from nullbox.ctxgraph.store import Store
from nullbox.protocols.errors import ErrorCode, NullBoxError


def restore(store: Store, entries: Sequence[Entry]) -> dict[str, Any]:
    """Append those of `entries` that the store does not have yet, as one durable transaction.

    Returns `{"added", "present", "size", "root"}`, the last two of the log as it is then. A restore that was cut off is
    simply done again.

    Raises:
        NullBoxError: `conflict`: the store has another record in the place of one of them, or ends before the first;
            `invalid`: one cannot follow or does not match its hash; `unavailable`: SQLite failed. Nothing of
            `entries` is added then.
    """
    present = [entry for entry in entries if entry.seq <= store.size]
    if present:
        rows = store.lookup.records(present[0].seq, present[-1].seq)
        for entry in present:
            _compare(entry, rows.get(entry.seq))
    missing = entries[len(present) :]
    if missing and missing[0].seq != store.size + 1:
        message = f"the log here ends at {store.size}, the lines begin with record {missing[0].seq}; begin before it"
        raise NullBoxError(ErrorCode.CONFLICT, message)
    if missing:
        store.replay(missing)
    return {"added": len(missing), "present": len(present), "size": store.size, "root": store.root().hex()}


def _compare(entry: Entry, row: tuple[Any, ...] | None) -> None:
    if row is not None:
        kind, seq, ts_ns, expires_ns, address, agent, key = row
        if leaf_hash(leaf_data(kind, seq, ts_ns, expires_ns, address, agent, key)) == leaf_of(entry):
            return
    message = (
        f"record {entry.seq} here is another one: this store has a log of its own. An export goes into an empty store,"
        " or into one that holds the beginning of the same log"
    )
    raise NullBoxError(ErrorCode.CONFLICT, message, {"seq": entry.seq})

"""Decide what a restored log adds to a store: the same records again, each checked against its own hash. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from nullbox.ctxgraph.batch import Changes, Lookup
from nullbox.ctxgraph.entry import Entry, Kind, check_agent_id, check_key, entry_hash, parents_of
from nullbox.ctxgraph.lines import leaf_of
from nullbox.ctxgraph.merkle import Frontier
from nullbox.ctxgraph.quota import Usage, charge
from nullbox.protocols.errors import ErrorCode, NullBoxError


def repeat(
    records: Sequence[Entry], lookup: Lookup, frontier: Frontier, last_ns: int, usage: Mapping[str, Usage]
) -> Changes:
    """What these records, in order, add to a store whose log ends at `frontier` and `last_ns`.

    An erased object is restored as one: its hash, no payload; one that is here with its payload loses it.

    Raises:
        NullBoxError: `invalid`, at the first record that does not fit.
    """
    changes = Changes(frontier.copy(), last_ns)
    known = dict(lookup.existing([record.hash for record in records]))
    for record in records:
        _check(record, changes.frontier.size + 1, changes.ts_ns)
        new = record.hash not in known
        if new:
            if record.kind is not Kind.WRITE:
                raise _wrong(record, f"a {record.kind.name.lower()} of an object that no record before it wrote")
            known[record.hash] = (record.seq, record.text is None)
            changes.objects.append((record.seq, record.hash, record.text))
            if record.text is not None:
                named = parents_of(json.loads(record.text))
                changes.edges.extend((record.seq, bytes.fromhex(parent)) for parent in named)
        target, erased = known[record.hash]
        if erased != (record.text is None) and record.kind in (Kind.WRITE, Kind.ERASE):
            changes.payload[target] = record.text
            known[record.hash] = (target, record.text is None)
        changes.frontier.append(leaf_of(record))
        row = (record.seq, record.ts_ns, int(record.kind), record.agent_id, record.key, target)
        changes.log.append((*row, record.expires_ns))
        changes.ts_ns = record.ts_ns
        if record.expires_ns:
            changes.ttl.append((record.expires_ns, record.seq))
        if record.kind in (Kind.WRITE, Kind.DELETE):
            text = record.text.encode() if new and record.text is not None else None
            before = changes.usage.get(record.agent_id) or usage.get(record.agent_id) or Usage()
            changes.usage[record.agent_id] = before.plus(charge(record.agent_id, record.key, text))
    return changes


def _check(record: Entry, seq: int, last_ns: int) -> None:
    check_agent_id(record.agent_id)
    check_key(record.key)
    if record.seq != seq:
        raise _wrong(record, f"record {seq} must come here")
    if record.ts_ns < last_ns:
        raise _wrong(record, "its time lies before that of the record before it")
    if record.kind is Kind.WRITE and record.text is not None:
        found = entry_hash(record.agent_id, record.key, record.text.encode())
        if found != record.hash:
            raise _wrong(record, f"its value hashes to {found.hex()}, not to {record.hash.hex()}")


def _wrong(record: Entry, why: str) -> NullBoxError:
    return NullBoxError(ErrorCode.INVALID, f"record {record.seq}: {why}")

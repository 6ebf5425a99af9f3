"""The lines of an export: read them, and check what each can prove by itself. Pure.

First line: `{"ctxgraph": 1, "size": …, "root": …, "prefixes": […]}`. Then one line for each record, in order: an
entry (`Entry.to_json`) and, where asked for, `record`, the fields that its leaf commits to, and `path`, its inclusion
proof in the tree of the first line.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import Entry, Kind, check_agent_id, check_key, entry_hash, parse_hash
from nullbox.ctxgraph.merkle import Frontier, leaf_data, leaf_hash
from nullbox.ctxgraph.proofs import Checkpoint, ProofError, check_inclusion
from nullbox.protocols.errors import ErrorCode, NullBoxError

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Line:
    """A record of an export. path: its inclusion proof, None where the export has none."""

    entry: Entry
    path: list[str] | None = None


def read_start(data: Any) -> Checkpoint:
    """The first line of an export of a whole log: its size and root.

    Raises:
        NullBoxError: `invalid`: it is something else, or an export of some prefixes, which is no log.
    """
    if not isinstance(data, dict) or data.get("ctxgraph") != FORMAT:
        raise _invalid(f"line 1 is no header of an export in format {FORMAT}")
    size, root, prefixes = data.get("size"), data.get("root"), data.get("prefixes")
    if type(size) is not int or size < 0 or not isinstance(root, str):
        raise _invalid("line 1 names no size and root of a log")
    if prefixes != [""]:
        raise _invalid(f"this is an export of the prefixes {prefixes}, which is no whole log; export without a prefix")
    return Checkpoint(size, parse_hash(root, "root").hex())


def read_line(data: Any) -> Line:
    """A record of an export.

    Raises:
        NullBoxError: `invalid`: it is none. The message names its number, as far as it has one.
    """
    if not isinstance(data, dict):
        raise _invalid("a line of the export is no JSON object")
    where = f"record {data.get('seq')}"
    try:
        entry = Entry(
            parse_hash(data["hash"]),
            check_agent_id(data["agent_id"]),
            check_key(data["key"]),
            None if data.get("erased") else canonical(data["value"]).decode(),
            _count(data, "seq"),
            _count(data, "ts_ns"),
            Kind[data.get("event", "write").upper()],
            _count(data, "expires_ns", 0),
        )
    except NullBoxError as error:
        raise _invalid(f"{where}: {error.message}") from None
    except (KeyError, AttributeError) as error:
        raise _invalid(f"{where}: no record: {error!r}") from None
    return Line(entry, data.get("path"))


def check_line(checkpoint: Checkpoint, line: Line) -> None:
    """Check that a value belongs to its hash, and that the line's proof, if there is one, holds for `checkpoint`.

    Raises:
        NullBoxError: `invalid`: something does not hold; the message says what.
    """
    entry = line.entry
    if entry.kind is Kind.WRITE and entry.text is not None:
        found = entry_hash(entry.agent_id, entry.key, entry.text.encode())
        if found != entry.hash:
            raise _invalid(f"record {entry.seq}: its value hashes to {found.hex()}, not to {entry.hash.hex()}")
    if line.path is None:
        return
    record = {
        "seq": entry.seq,
        "ts_ns": entry.ts_ns,
        "kind": int(entry.kind),
        "expires_ns": entry.expires_ns,
        "hash": entry.hash.hex(),
        "agent_id": entry.agent_id,
        "key": entry.key,
    }
    proof = {"size": checkpoint.size, "root": checkpoint.root, "record": record, "path": line.path}
    try:
        check_inclusion(checkpoint, proof)
    except ProofError as error:
        raise _invalid(f"record {entry.seq}: its proof does not hold: {error}") from None


def leaf_of(entry: Entry) -> bytes:
    """The hash that stands for this record in the tree."""
    data = leaf_data(entry.kind, entry.seq, entry.ts_ns, entry.expires_ns, entry.hash, entry.agent_id, entry.key)
    return leaf_hash(data)


def read_export(lines: Iterable[str | bytes]) -> tuple[Checkpoint, Iterator[Entry]]:
    """The checkpoint of an export of a whole log, and its records, each checked as it is taken (`check_line`).

    Raises:
        NullBoxError: `invalid`: the first line at which it fails.
    """
    loaded = (_load(text) for text in lines)
    start = read_start(next(loaded, None))

    def records() -> Iterator[Entry]:
        for data in loaded:
            line = read_line(data)
            check_line(start, line)
            yield line.entry

    return start, records()


def check_export(lines: Iterable[str | bytes]) -> Checkpoint:
    """Check an export of a whole log from its first line to its last; its checkpoint.

    Raises:
        NullBoxError: `invalid`: the first line at which it fails, or that all lines together give another root than
            line 1 promises.
    """
    start, records = read_export(lines)
    tree = Frontier()
    for entry in records:
        if entry.seq != tree.size + 1:
            raise _invalid(f"record {tree.size + 1} is missing; {entry.seq} follows")
        tree.append(leaf_of(entry))
        tree.tiles.clear()
    check_end(start, tree.size, tree.root())
    return start


def check_end(start: Checkpoint, size: int, root: bytes) -> None:
    """Raises NullBoxError `invalid` unless a log of `size` records with that root is what line 1 promises."""
    if (size, root.hex()) != (start.size, start.root):
        found = f"{size} records with root {root.hex()}"
        raise _invalid(f"the lines give {found}, line 1 says {start.size} with {start.root}")


def _load(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"a line of the export is no JSON: {error}") from None


def _count(data: dict[str, Any], name: str, default: int | None = None) -> int:
    value = data.get(name, default)
    if type(value) is not int or not 0 <= value < 2**63:
        raise _invalid(f'"{name}" must be a whole number, not {str(value)[:40]}')
    return value


def _invalid(message: str) -> NullBoxError:
    return NullBoxError(ErrorCode.INVALID, message)

"""A log as JSON Lines: export with proofs, and import into an empty store. Effects: reads and writes stores.

First line: `{"ctxgraph": 1, "size": …, "root": …, "prefixes": […]}`. Then one line for each record, in order: an
entry (`Entry.to_json`) with `record`, the fields that its leaf commits to, and, where asked for, `path`, its
inclusion proof in the tree of the first line. An export of everything can be imported; it ends with the same root
or is refused. An export of some prefixes proves each of its lines and cannot be imported: it is no whole log.

    python -m nullbox.ctxgraph.transfer import EXPORT.jsonl NEW-STORE.sqlite
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import Entry, Kind, parse_hash
from nullbox.ctxgraph.evidence import prove, root_at
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.store import GROUP, Store
from nullbox.protocols.errors import ErrorCode, NullBoxError

FORMAT = 1
STEP = 200


def header(reader: Reader, prefixes: Sequence[str] = ("",)) -> dict[str, Any]:
    """The first line: which log, up to where."""
    return {"ctxgraph": FORMAT, **root_at(reader), "prefixes": list(prefixes)}


def export_lines(
    reader: Reader, start: dict[str, Any], after: int = 0, *, proofs: bool = False
) -> tuple[list[dict[str, Any]], int | None]:
    """The next lines after record `after` of the export that `header` began, and where to go on (None: done)."""
    size = start["size"]
    page = reader.query(start["prefixes"], Window(after, size + 1), STEP, kinds=len(Kind))
    lines = []
    for entry in page.entries:
        line = entry.to_json()
        if proofs:
            proof = prove(reader, entry.seq, size)
            line |= {"record": proof["record"], "path": proof["path"]}
        lines.append(line)
    return lines, page.next


def export_all(reader: Reader, *, proofs: bool = False) -> Iterator[dict[str, Any]]:
    """Every line of an export of everything."""
    start = header(reader)
    yield start
    after: int | None = 0
    while after is not None:
        lines, after = export_lines(reader, start, after, proofs=proofs)
        yield from lines


def import_lines(lines: Iterable[str], store: Store) -> dict[str, Any]:
    """Restore an export of everything into an empty store; returns `{"size", "root"}`.

    Raises:
        NullBoxError: `wrong_state`: the store is not empty; `invalid`: a line is malformed, does not match its
            hash, is out of place, or the log does not end with the root that the first line promises. What came
            before the bad line stays: throw the new store away.
    """
    if store.size:
        raise NullBoxError(ErrorCode.WRONG_STATE, f"the store holds {store.size} records; import into an empty one")
    numbered = enumerate(lines, 1)
    try:
        start = json.loads(next(numbered)[1])
        size, root, whole = start["size"], start["root"], start["prefixes"] == [""]
        if start["ctxgraph"] != FORMAT or not whole:
            raise NullBoxError(ErrorCode.INVALID, "line 1: this is no export of a whole log in format 1")
    except (StopIteration, ValueError, KeyError, TypeError) as error:
        raise NullBoxError(ErrorCode.INVALID, f"line 1: no header of an export: {error!r}") from None
    group: list[Entry] = []
    for number, line in numbered:
        group.append(_entry(number, line))
        if len(group) == GROUP:
            store.replay(group)
            group = []
    if group:
        store.replay(group)
    if (store.size, store.root().hex()) != (size, root):
        message = f"the lines give {store.size} records with root {store.root().hex()}, line 1 says {size}, {root}"
        raise NullBoxError(ErrorCode.INVALID, message)
    return {"size": size, "root": root}


def _entry(number: int, line: str) -> Entry:
    try:
        data = json.loads(line)
        text = None if data.get("erased") else canonical(data["value"]).decode()
        kind = Kind[data.get("event", "write").upper()]
        return Entry(
            parse_hash(data["hash"]),
            data["agent_id"],
            data["key"],
            text,
            data["seq"],
            data["ts_ns"],
            kind,
            data.get("expires_ns", 0),
        )
    except NullBoxError as error:
        raise NullBoxError(ErrorCode.INVALID, f"line {number}: {error.message}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NullBoxError(ErrorCode.INVALID, f"line {number}: no record: {error!r}") from None


def main(arguments: Sequence[str]) -> int:
    """`import FILE STORE` or `export STORE [FILE]`; see the module."""
    try:
        if len(arguments) == 3 and arguments[0] == "import":
            store = Store(Path(arguments[2]))
            try:
                with Path(arguments[1]).open(encoding="utf-8") as lines:
                    print(json.dumps(import_lines(lines, store)))
            finally:
                store.close()
            return 0
        if len(arguments) == 2 and arguments[0] == "export":
            for line in export_all(Reader(Path(arguments[1])), proofs=True):
                print(json.dumps(line, separators=(",", ":")))
            return 0
    except (NullBoxError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(main.__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

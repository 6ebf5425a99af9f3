"""A log as JSON Lines: export with proofs, and import (`lines` has the format). Effects: reads and writes stores.

An export of everything can be imported; it ends with the same root or is refused. An export of some prefixes proves
each of its lines and cannot be imported: it is no whole log.

    python -m nullbox.ctxgraph.transfer import EXPORT.jsonl NEW-STORE.sqlite
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from nullbox.ctxgraph.entry import Kind
from nullbox.ctxgraph.evidence import prove, root_at
from nullbox.ctxgraph.lines import FORMAT, check_end, read_export
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.restore import restore
from nullbox.ctxgraph.store import GROUP, Store
from nullbox.protocols.errors import NullBoxError

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


def import_lines(lines: Iterable[str | bytes], store: Store) -> dict[str, Any]:
    """Restore an export of everything; returns `{"size", "root"}`.

    Raises:
        NullBoxError: `conflict`: the store has a log of its own (`restore.restore`); `invalid`: a line is malformed,
            does not match its hash or its proof, is out of place, or the log does not end with the root that the
            first line promises. What came before the bad line stays.
    """
    start, records = read_export(lines)
    for group in iter(lambda: list(islice(records, GROUP)), []):
        restore(store, group)
    check_end(start, store.size, store.root())
    return {"size": start.size, "root": start.root}


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

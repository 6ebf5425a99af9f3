"""`nullctl ctx import`: a whole export is checked here, then sent piece by piece."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from typing import IO, Any

import click

from nullbox.cli.context import Session, output_option, pass_session
from nullbox.protocols.errors import ErrorCode, NullBoxError

PIECE = 400 * 1024
"""Bytes of lines in one request, whose line may have 1 MiB; the longest line of an export alone has less than that."""
LINES = 500


@click.command(name="import")
@click.argument("file", type=click.File("rb"))
@click.option("--root", metavar="ROOT", help="The root that the log had, from a checkpoint of your own.")
@output_option
@pass_session
def import_(session: Session, file: IO[bytes], root: str | None) -> None:
    """Restore the log in FILE, an export without a prefix. `-` is standard input.

    Every value, hash and proof of the file is checked before anything is sent. Records keep their author, number and
    time, so the log ends with the root that the export names, and proofs of before hold. That goes into an empty store,
    or one that holds the beginning of the same log; what is there already is left alone. Any other store is refused.

    \b
    Examples:
      nullctl ctx import backup.jsonl
      nullctl ctx import backup.jsonl --root 9a…07
    """
    from nullbox.ctxgraph.lines import check_export

    lines = _rereadable(file)
    promised = check_export(lines)
    if root not in (None, promised.root):
        raise NullBoxError(ErrorCode.CONFLICT, f"the export has the root {promised.root}, not {root}: another log")
    lines.seek(0)
    start = json.loads(lines.readline())
    answer = {"added": 0, "present": 0, **session.nulld.ctx_import(start, [])}
    added = present = sent = 0
    for piece in _pieces(lines):
        answer = session.nulld.ctx_import(start, piece)
        added += answer["added"]
        present += answer["present"]
        sent += len(piece)
        _progress(sent, promised.size)
    session.show(
        {**answer, "added": added, "present": present},
        lambda done: (
            f"restored: {added} records, {present} were there; the log has {done['size']}, root {done['root']}"
        ),
        lambda done: [done["root"]],
    )


def _rereadable(file: IO[bytes]) -> IO[bytes]:
    """The same, from its beginning, to be read twice: a pipe is copied to a temporary file."""
    if file.seekable():
        return file
    import shutil
    import tempfile

    spool = tempfile.SpooledTemporaryFile(max_size=16 * 1024 * 1024)  # noqa: SIM115 - ends with the process
    shutil.copyfileobj(file, spool)
    spool.seek(0)
    return spool


def _pieces(lines: IO[bytes]) -> Iterator[list[dict[str, Any]]]:
    """The rest of the lines, in requests that the protocol takes."""
    piece: list[dict[str, Any]] = []
    room = PIECE
    for text in lines:
        line = json.loads(text)
        line.pop("record", None)  # says again what the line itself says, and what its proof is held against
        size = len(json.dumps(line))
        if piece and (size > room or len(piece) == LINES):
            yield piece
            piece, room = [], PIECE
        piece.append(line)
        room -= size
    if piece:
        yield piece


def _progress(sent: int, size: int) -> None:
    """Shows how much is restored, on a terminal only."""
    if sys.stderr.isatty():
        click.echo(f"\r{sent} of {size} records" + ("\n" if sent >= size else ""), err=True, nl=False)

"""nullctl's verbs about the agents' shared memory."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

import click

from nullbox.cli import render
from nullbox.cli.completing import agent_names, keys
from nullbox.cli.context import Session, confirm, output_option, pass_session, tell
from nullbox.cli.lazy import LazyGroup

PAGE = 100
LIMIT = click.option(
    "--limit", type=click.IntRange(1), default=1000, show_default=True, help="At most this many, the newest ones."
)


PROOF = "nullbox.cli.verbs_proof:"
LAZY = {
    "graph": (PROOF + "graph", "Show from which entries one was made, or which were made from it."),
    "root": (PROOF + "root", "Show the Merkle root of the log."),
    "prove": (PROOF + "prove", "Prove that an entry is in the log."),
    "consistency": (PROOF + "consistency", "Prove that the log begins as it once was."),
    "import": ("nullbox.cli.verb_import:import_", "Restore the log in FILE, an export without a prefix."),
}


@click.group(cls=LazyGroup, lazy=LAZY)
def ctx() -> None:
    """Look into the agents' shared memory."""


def _newest(page: Callable[..., dict[str, Any]], limit: int) -> list[dict[str, Any]]:
    """The newest entries, oldest first, fetched page by page from the newest on."""
    entries: list[dict[str, Any]] = []
    after: int | None = None
    while len(entries) < limit:
        answer = page(limit=min(PAGE, limit - len(entries)), after=after, order="desc")
        entries += answer["entries"]
        after = answer.get("next")
        if after is None or not answer["entries"]:
            return entries[::-1]
    tell(f"the newest {limit}; --limit shows more")
    return entries[::-1]


def _show(session: Session, entries: list[dict[str, Any]]) -> None:
    from nullbox.cli import tables

    session.show(
        {"entries": entries},
        lambda answer: render.table(tables.ENTRIES, answer["entries"]),
        lambda answer: [entry["hash"] for entry in answer["entries"]],
    )


@ctx.command()
@click.argument("prefix", default="", shell_complete=keys)
@LIMIT
@output_option
@pass_session
def query(session: Session, prefix: str, limit: int) -> None:
    """Show what was written to keys that begin with PREFIX, oldest first.

    \b
    Examples:
      nullctl ctx query pulse.
      nullctl -o json ctx query research. | jq '.entries[].value'
    """
    _show(session, _newest(lambda **how: session.nulld.ctx_query(prefix, **how), limit))


@ctx.command()
@click.argument("key", shell_complete=keys)
@LIMIT
@output_option
@pass_session
def history(session: Session, key: str, limit: int) -> None:
    """Show all that was written to KEY, oldest first."""
    _show(session, _newest(lambda **how: session.nulld.ctx_history(key, **how), limit))


@ctx.command()
@click.argument("hash")
@output_option
@pass_session
def read(session: Session, hash: str) -> None:
    """Show the entry with that HASH."""
    session.show(session.nulld.ctx_read(hash), render.outline, lambda entry: [entry["hash"]])


@ctx.command()
@click.argument("key", shell_complete=keys)
@output_option
@pass_session
def latest(session: Session, key: str) -> None:
    """Show what was written to KEY last."""
    session.show(session.nulld.ctx_latest(key), render.outline, lambda entry: [entry["hash"]])


@ctx.command(name="by-agent")
@click.argument("agent", shell_complete=agent_names)
@LIMIT
@output_option
@pass_session
def by_agent(session: Session, agent: str, limit: int) -> None:
    """Show all that AGENT wrote, oldest first."""
    _show(session, _newest(lambda **how: session.nulld.ctx_by_agent(agent, **how), limit))


@ctx.command()
@output_option
@pass_session
def agents(session: Session) -> None:
    """Show who wrote how much."""
    from nullbox.cli import tables

    session.show(
        session.nulld.ctx_agents(),
        lambda rows: render.table(tables.WRITERS, rows),
        lambda rows: [row["agent_id"] for row in rows],
    )


@ctx.command()
@click.argument("key")
@click.argument("value")
@click.option("--string", is_flag=True, help="VALUE is a text as it stands, not JSON.")
@output_option
@pass_session
def write(session: Session, key: str, value: str, string: bool) -> None:
    """Write VALUE, a JSON text, to KEY, as the operator. `-` reads it from standard input.

    \b
    Examples:
      nullctl ctx write notes.first '{"text": "hello"}'
      nullctl ctx write notes.second --string hello
    """
    text = sys.stdin.read() if value == "-" else value
    if not string:
        try:
            parsed = json.loads(text)
        except ValueError as error:
            raise click.UsageError(f"VALUE is no JSON ({error}); quote it, or use --string") from None
    else:
        parsed = text
    answer = session.nulld.ctx_write(key, parsed)
    session.show(answer, render.outline, lambda entry: [entry["hash"]])


@ctx.command()
@click.argument("prefix", default="", shell_complete=keys)
@click.option("--since", type=click.IntRange(0), metavar="SEQ", help="Begin after this number.")
@output_option
@pass_session
def watch(session: Session, prefix: str, since: int | None) -> None:
    """Show entries of keys that begin with PREFIX as they are written. JSON Lines with -o json."""
    from nullbox.cli import tables

    def line(entry: dict[str, Any]) -> str:
        value = render.cut(json.dumps(entry.get("value"), ensure_ascii=False), tables.VALUE_WIDTH)
        return render.safe(f"{entry['seq']:>8}  {entry['agent_id']:<16}  {entry['key']:<32}  {value}")

    session.show_each(session.nulld.ctx_watch(prefix, since), line, lambda entry: str(entry["hash"]))


@ctx.command()
@click.argument("text")
@click.option("--prefix", default="", help="Only keys that begin so.")
@click.option("--limit", type=click.IntRange(1, 100), default=20, show_default=True, help="At most this many.")
@output_option
@pass_session
def search(session: Session, text: str, prefix: str, limit: int) -> None:
    """Find entries whose value holds all the words of TEXT, best first."""
    _show(session, session.nulld.ctx_search(text, prefix, limit))


@ctx.command()
@output_option
@pass_session
def status(session: Session) -> None:
    """Show the store itself: its size, its Merkle root."""
    session.show(session.nulld.ctx_status(), render.outline)


@ctx.command()
@output_option
@pass_session
def verify(session: Session) -> None:
    """Recompute every hash of the store and of its log, and say what does not fit."""
    session.show(session.nulld.ctx_verify(), render.outline)


@ctx.command()
@click.argument("prefix", default="", shell_complete=keys)
@click.option("--proofs", is_flag=True, help="With a proof for each entry that it is in the log.")
@pass_session
def export(session: Session, prefix: str, proofs: bool) -> None:
    """Write all entries of keys that begin with PREFIX as JSON Lines: a header, then an entry a line.

    \b
    Example:
      nullctl ctx export research. --proofs > research.jsonl
    """
    for line in session.nulld.ctx_export(prefix, proofs):
        click.echo(render.to_json(line, line=True))


@ctx.command()
@click.argument("key", shell_complete=keys)
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@pass_session
def delete(session: Session, key: str, yes: bool) -> None:
    """End KEY: it has no latest entry any more. Its history stays."""
    confirm(f"Delete {key}?", yes)
    session.done(session.nulld.ctx_delete(key), f"{key}: deleted")


@ctx.command()
@click.argument("hash")
@click.option("--yes", is_flag=True, help="Do not ask.")
@output_option
@pass_session
def erase(session: Session, hash: str, yes: bool) -> None:
    """Destroy the value of the entry with that HASH, for good. That it was there stays on record."""
    confirm(f"Destroy the value of {hash}? It cannot be brought back.", yes)
    session.done(session.nulld.ctx_erase(hash), f"{hash}: erased")

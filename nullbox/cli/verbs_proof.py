"""nullctl's verbs for those who do not trust the store: where entries came from, and proofs, which are checked here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from nullbox.cli import render
from nullbox.cli.context import Session, output_option, pass_session
from nullbox.protocols.errors import ErrorCode, NullBoxError

if TYPE_CHECKING:
    from nullbox.ctxgraph.proofs import Checkpoint

HASH_LENGTH = 64


@click.command()
@click.argument("hash")
@click.option(
    "--direction",
    type=click.Choice(("ancestors", "descendants")),
    default="ancestors",
    show_default=True,
    help="What it was made from, or what was made from it.",
)
@click.option("--depth", type=click.IntRange(1, 100), default=10, show_default=True, help="How many steps to go.")
@click.option(
    "--limit", type=click.IntRange(1, 1000), default=200, show_default=True, help="At most this many entries."
)
@output_option
@pass_session
def graph(session: Session, hash: str, direction: str, depth: int, limit: int) -> None:
    """Show from which entries the one with that HASH was made, or which were made from it."""
    session.show(
        session.nulld.ctx_graph(hash, direction, depth, limit),
        _graph,
        lambda answer: [node["hash"] for node in answer["nodes"]],
    )


def _graph(answer: dict[str, Any]) -> str:
    """Breadth first, deeper entries further to the right."""
    lines = []
    for node in answer["nodes"]:
        what = "(not readable)" if node.get("hidden") else f"{node['seq']:>8}  {node['agent_id']:<16}  {node['key']}"
        lines.append(render.safe(f"{'  ' * node['depth']}{node['hash'][:16]}  {what}"))
    if answer["truncated"]:
        lines.append("and more; --depth and --limit show it")
    return "\n".join(lines)


@click.command()
@click.option("--size", type=click.IntRange(0), metavar="N", help="Of the log's first N records.")
@output_option
@pass_session
def root(session: Session, size: int | None) -> None:
    """Show the Merkle root of the log: with its size, a checkpoint to be kept in a safe place."""
    session.show(session.nulld.ctx_root(size), render.outline, lambda answer: [answer["root"]])


@click.command()
@click.argument("entry", metavar="HASH|SEQ")
@click.option("--size", type=click.IntRange(1), metavar="N", help="In the log's first N records.")
@click.option("--root", metavar="ROOT", help="The root that these had, from a checkpoint of your own.")
@output_option
@pass_session
def prove(session: Session, entry: str, size: int | None, root: str | None) -> None:
    """Get a proof that an entry is in the log, and check it here.

    \b
    Examples:
      nullctl ctx prove 17
      nullctl ctx prove 3f…e1 --size 4000 --root 9a…07
    """
    by_hash = len(entry) == HASH_LENGTH
    if not by_hash and not entry.isdecimal():
        raise click.UsageError(f"{entry!r} is neither a hash of 64 digits nor a number of the log")
    proof = session.nulld.ctx_prove(entry if by_hash else int(entry), size)
    from nullbox.ctxgraph import proofs

    kept = proofs.Checkpoint(size or proof["size"], root or proof["root"])
    _check(lambda: proofs.check_inclusion(kept, proof))
    session.show({**proof, "checked": True}, _proved, lambda answer: [answer["record"]["hash"]])


def _proved(answer: dict[str, Any]) -> str:
    record = answer["record"]
    return render.safe(
        f"proved: record {record['seq']}, {record['key']} by {record['agent_id']}, is in the log of {answer['size']} "
        f"records with root {answer['root']}"
    )


@click.command()
@click.argument("size", type=click.IntRange(0))
@click.argument("root")
@click.option("--new-size", type=click.IntRange(0), metavar="N", help="The later length.  [default: now]")
@output_option
@pass_session
def consistency(session: Session, size: int, root: str, new_size: int | None) -> None:
    """Get a proof that the log still begins with the SIZE records that had ROOT, and check it here.

    \b
    Example:
      nullctl ctx consistency 4000 9a…07
    """
    answer = session.nulld.ctx_consistency(size, root, new_size)
    from nullbox.ctxgraph import proofs

    new = _checkpoint(answer["new"])
    _check(lambda: proofs.check_consistency(proofs.Checkpoint(size, root), new, answer["path"]))
    text = f"proved: the log of {new.size} records begins with those {size}, unchanged; its root is {new.root}"
    session.show({**answer, "checked": True}, lambda _: text, lambda answer: [answer["new"]["root"]])


def _checkpoint(answer: dict[str, Any]) -> Checkpoint:
    from nullbox.ctxgraph.proofs import Checkpoint

    return Checkpoint(answer["size"], answer["root"])


def _check(check: Any) -> None:
    """Raises NullBoxError `conflict` where the proof does not hold."""
    from nullbox.ctxgraph.proofs import ProofError

    try:
        check()
    except (ProofError, KeyError, TypeError) as error:
        raise NullBoxError(ErrorCode.CONFLICT, f"NOT proved: {error}") from None

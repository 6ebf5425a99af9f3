"""What the shell completes beyond verbs and options: names that only the running system knows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from nullbox.client import Nulld

PATIENCE = 1.0
"""Seconds that a person waits for the Tab key."""


def _from_daemon(context: click.Context, ask: Callable[[Nulld], list[str]]) -> list[str]:
    """Names from the daemon that the line so far means; none if it does not answer."""
    from nullbox.cli import targets
    from nullbox.client import Nulld
    from nullbox.protocols.errors import NullBoxError

    given = context.find_root().params
    try:
        with Nulld(targets.resolve(given.get("socket"), given.get("target")), timeout=PATIENCE) as nulld:
            return ask(nulld)
    except NullBoxError:
        return []


def agent_names(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Agents of the running system that are not named yet."""
    named = context.params.get(param.name or "") or ()
    names = _from_daemon(context, lambda nulld: [each["name"] for each in nulld.agent_list()])
    return [name for name in names if name.startswith(incomplete) and name not in named]


def keys(context: click.Context, param: click.Parameter, incomplete: str) -> list[str]:
    """Keys that were written lately."""
    found = _from_daemon(
        context, lambda nulld: [entry["key"] for entry in nulld.ctx_query(incomplete, order="desc")["entries"]]
    )
    return sorted(set(found))

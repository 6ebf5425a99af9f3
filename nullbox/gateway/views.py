"""What `status`, `agent.list` and their like show, made from the supervisor's nodes. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

Node = Mapping[str, Any]

CAGE_PREFIX = "cage:"
SHOWN = (
    "state",
    "pid",
    "incarnation",
    "restarts",
    "restarts_total",
    "uptime_s",
    "last_exit",
    "next_restart_in_s",
    "waiting_for",
)
STALE = 15.0
"""Seconds after which a snapshot of the tree no longer counts as health."""


def agent_name(node: Node) -> str | None:
    """The agent whose cage this node is; None for other nodes."""
    node_id = str(node["id"])
    return node_id[len(CAGE_PREFIX) :] if node_id.startswith(CAGE_PREFIX) else None


def summary(node: Node) -> dict[str, Any]:
    """One line of a list: the name, then the fields that `SHOWN` names."""
    name = agent_name(node) or node["id"]
    return {"name": name, **{field: node.get(field) for field in SHOWN}}


def agents(tree: Iterable[Node]) -> list[dict[str, Any]]:
    return [summary(node) for node in tree if agent_name(node) is not None]


def services(tree: Iterable[Node]) -> list[dict[str, Any]]:
    return [summary(node) for node in tree if node["parent"] is not None and agent_name(node) is None]


def healthy(tree: Iterable[Node], age: float = 0.0) -> bool:
    """Every supervisor and every service that is wanted runs, and the snapshot is recent. Agents do not count."""
    return age <= STALE and all(
        node["state"] == "running" or not node.get("wanted", True) for node in tree if agent_name(node) is None
    )


def find(tree: Iterable[Node], name: str) -> Node:
    """The node of that agent's cage.

    Raises:
        NullBoxError: `not_found`, with the agents that there are.
    """
    cages = {agent_name(node): node for node in tree if agent_name(node) is not None}
    if name in cages:
        return cages[name]
    known = sorted(str(each) for each in cages)
    listed = ", ".join(known) or "none"
    raise NullBoxError(ErrorCode.NOT_FOUND, f"no agent {name!r}{_guess(name, known)}; there are: {listed}")


def suggestion(name: str, known: Sequence[str]) -> str:
    """`did you mean …?` for a misspelt name, or an empty text."""
    return _guess(name, known).lstrip("; ")


def _guess(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


REQUIRED_STATE: Mapping[str, tuple[str, ...]] = {"pause": ("running",), "resume": ("paused",)}
"""Cage command → the states it makes sense in. The cage itself has the last word."""

ADVICE: Mapping[str, str] = {
    "stopped": "start it first",
    "failed": "start it first",
    "starting": "wait until it runs",
    "backoff": "start it now, or wait for its restart",
    "stopping": "wait until it has stopped, then start it",
    "paused": "resume it first",
    "running": "it is not paused",
}


IN_WORDS: Mapping[str, str] = {"backoff": "in backoff (it ended, and waits for its restart)"}


def check_state(node: Node, verb: str) -> None:
    """Raises NullBoxError `wrong_state`, saying what would be right, if `verb` makes no sense now."""
    allowed = REQUIRED_STATE.get(verb)
    state = str(node["state"])
    if allowed is None or state in allowed:
        return
    if verb == "pause" and state == "paused":
        advice = "it is paused already"
    else:
        advice = ADVICE.get(state, f"allowed: {', '.join(allowed)}")
    shown = IN_WORDS.get(state, state)
    message = f"agent {agent_name(node)!r} is {shown} and {verb} needs it {' or '.join(allowed)}; {advice}"
    raise NullBoxError(ErrorCode.WRONG_STATE, message, {"state": state})


def status(tree: Sequence[Node], machine: Mapping[str, Any], age: float) -> dict[str, Any]:
    """The answer to `status`.

    machine: what does not come from the tree (version, driver, kernel, acceleration, uptime_s).
    age: seconds since the tree was seen; not 0 when the root supervisor does not answer.
    """
    return {
        "healthy": healthy(tree, age),
        **machine,
        "age_s": round(age, 3),
        "services": services(tree),
        "agents": agents(tree),
    }

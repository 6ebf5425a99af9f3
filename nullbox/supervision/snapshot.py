"""A supervisor's state as people see it: the nodes of `nullctl tree`. Pure."""

from __future__ import annotations

from typing import Any

from nullbox.supervision.lifecycle import waits_for
from nullbox.supervision.spec import OnLimit
from nullbox.supervision.state import Child, ChildState, State, SupervisorPhase

PHASE_STATES = frozenset({"paused"})
"""Phases of a running child that replace its state, since the contract has a word for them."""

SUPERVISOR_STATES = {
    SupervisorPhase.NEW: "starting",
    SupervisorPhase.RUNNING: "running",
    SupervisorPhase.STOPPING: "stopping",
    SupervisorPhase.ENDED: "stopped",
}


def tree(
    state: State, now: float, *, pid: int | None = None, incarnation: int = 1, since: float | None = None
) -> list[dict[str, Any]]:
    """The supervisor's own node, then its children in start order: plain data.

    Each node: id, parent (None for the root), type, state, pid, incarnation, restarts (that count against the
    limit now), restarts_total, uptime_s (since the process started; None without one), since_s (in this state),
    last_exit ({kind, detail, code} or None), next_restart_in_s (in backoff), phase, detail (what the child said
    of itself), waiting_for, wanted.

    Args:
        pid, incarnation, since: the supervisor's own, as it knows them.
    """
    own: dict[str, Any] = {
        "id": state.name,
        "parent": None,
        "type": "supervisor",
        "state": SUPERVISOR_STATES[state.phase],
        "pid": pid,
        "incarnation": incarnation,
        "restarts": state.window.count(now, state.intensity.period),
        "restarts_total": sum(child.restarts_total for child in state.children.values()),
        "uptime_s": None if since is None else round(now - since, 3),
        "since_s": None if since is None else round(now - since, 3),
        "last_exit": None,
        "next_restart_in_s": None,
        "phase": "",
        "detail": {
            "strategy": state.strategy.value,
            "max_restarts": state.intensity.max_restarts,
            "period_s": state.intensity.period,
        },
        "waiting_for": [],
        "wanted": True,
    }
    return [own, *(node(state, child, now) for child in state.children.values())]


def node(state: State, child: Child, now: float) -> dict[str, Any]:
    """One child as plain data; see `tree`."""
    last = child.last_exit
    return {
        "id": child.spec.id,
        "parent": state.name,
        "type": child.spec.type.value,
        "state": visible_state(child),
        "pid": child.pid,
        "incarnation": child.incarnation,
        "restarts": child.window.count(now, state.intensity.period),
        "restarts_total": child.restarts_total,
        "uptime_s": None if child.started_at is None else round(now - child.started_at, 3),
        "since_s": round(now - child.since, 3),
        "last_exit": None if last is None else {"kind": last.kind, "detail": last.detail, "code": last.code},
        "next_restart_in_s": None if child.retry_at is None else max(0.0, round(child.retry_at - now, 3)),
        "phase": child.phase,
        "detail": dict(child.phase_detail),
        "waiting_for": waits_for(state, child),
        "wanted": child.wanted,
    }


def visible_state(child: Child) -> str:
    """The contract's word for what the child is doing."""
    if child.state is ChildState.RUNNING and child.phase in PHASE_STATES:
        return child.phase
    return child.state.value


TROUBLED = frozenset({ChildState.STARTING, ChildState.STOPPING, ChildState.BACKOFF, ChildState.FAILED})


def healthy(state: State) -> bool:
    """Whether the tree works: it has started, and no child that escalates (a service) is down or on its way.

    A cage in `failed` is its operator's business and makes no system unhealthy; a user's stop does neither.
    """
    if state.phase is not SupervisorPhase.RUNNING:
        return False
    return not any(
        child.spec.on_limit is OnLimit.ESCALATE and child.wanted and child.state in TROUBLED
        for child in state.children.values()
    )

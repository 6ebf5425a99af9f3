"""What the end of a child means: restart, rest, fail, give up. The heart of supervision. Pure."""

from __future__ import annotations

from zlib import crc32

from nullbox.protocols.messages import ExitReason
from nullbox.supervision.backoff import delay, was_stable
from nullbox.supervision.events import Action, Emit, Forget, TimerKind
from nullbox.supervision.groups import LINEAR, advance_group, begin_group
from nullbox.supervision.lifecycle import (
    MOST_FINISHES,
    answer_waiters,
    end,
    enter,
    finish,
    set_timer,
    start_over,
    try_start,
)
from nullbox.supervision.shutdown import advance_shutdown, begin_shutdown
from nullbox.supervision.spec import AutoShutdown, ChildSpec, OnLimit, Restart, Strategy
from nullbox.supervision.state import Child, ChildState, Intent, State, SupervisorPhase

ORDERLY = frozenset({"normal", "shutdown"})
"""Kinds of `ExitReason` that are no failure."""

UNANNOUNCED = frozenset({"crash", "signal", "exit", "timeout"})
"""Kinds that say nothing about a keeper's work, only that the keeper is gone."""


def restarts(spec: ChildSpec, reason: ExitReason) -> bool:
    """Whether a child that ended by itself for this reason is to be started again."""
    if spec.restart is Restart.PERMANENT:
        return True
    if spec.keeper and reason.kind in UNANNOUNCED:
        return True
    return spec.restart is Restart.TRANSIENT and reason.kind not in ORDERLY


def child_ended(state: State, child: Child, reason: ExitReason, now: float, out: list[Action]) -> None:
    """The process of the present incarnation is gone."""
    was_doomed = child.doomed
    ready_for = end(state, child, reason, now, out)
    if ready_for is not None and state.phase is SupervisorPhase.RUNNING:
        start_over(state, child, now, out)
    if not was_doomed and unfinished(state, child):
        finish(state, child, now, out)
        return
    intent, child.intent = child.intent, None
    child.unfinished = 0
    if state.phase is SupervisorPhase.STOPPING:
        enter(child, ChildState.STOPPED, now, out)
        answer_waiters(child, out)
        advance_shutdown(state, child, now, out)
        return
    if intent is Intent.REMOVE:
        enter(child, ChildState.STOPPED, now, out)
        remove(state, child, out)
    elif was_doomed and child.renew:
        child.waiting = True
        enter(child, ChildState.STARTING, now, out)
        answer_waiters(child, out)
    elif was_doomed or intent is Intent.STOP or intent is Intent.GROUP:
        enter(child, ChildState.STOPPED, now, out)
        answer_waiters(child, out)
    elif intent is Intent.RESTART or intent is Intent.AGAIN:
        try_start(state, child, now, out)
        answer_waiters(child, out)
    else:
        ended_by_itself(state, child, ready_for, now, out)
    if state.group and state.phase is SupervisorPhase.RUNNING:
        advance_group(state, now, out)


def unfinished(state: State, child: Child) -> bool:
    """Whether a keeper died before it had ended what it keeps, as it was asked to by a user: what it keeps may live on.

    Not at the supervisor's own end, which is either the end of all, or one that what is kept is to outlive.
    """
    asked = child.intent in (Intent.STOP, Intent.RESTART, Intent.REMOVE)
    assert child.last_exit is not None
    return (
        child.spec.keeper
        and asked
        and child.spec.shutdown > 0
        and state.phase is SupervisorPhase.RUNNING
        and child.last_exit.kind in UNANNOUNCED
        and child.unfinished < MOST_FINISHES
    )


def ended_by_itself(state: State, child: Child, ready_for: float | None, now: float, out: list[Action]) -> None:
    """Nobody asked for it: apply the restart word, then the limit, then the backoff, then the strategy."""
    reason = child.last_exit
    assert reason is not None
    spec = child.spec
    if not restarts(spec, reason):
        enter(child, ChildState.STOPPED, now, out)
        if ends_supervisor(state, child):
            begin_shutdown(state, None, now, out)
        elif state.strategy is Strategy.DYNAMIC and not state.dependents[spec.id]:
            remove(state, child, out)
        return
    if was_stable(spec.backoff, ready_for):
        child.attempts = 0
    within = child.window.add(now, state.intensity)
    if spec.on_limit is OnLimit.ESCALATE:
        within = state.window.add(now, state.intensity)
    if not within:
        past_limit(state, child, now, out)
        return
    wait = delay(spec.backoff, child.attempts, chance(state.seed, spec.id, child.incarnation))
    child.attempts += 1
    if wait > 0:
        child.window.imposed(wait)
        if spec.on_limit is OnLimit.ESCALATE:
            state.window.imposed(wait)
        child.retry_at = now + wait
        enter(child, ChildState.BACKOFF, now, out)
        set_timer(state, child, TimerKind.BACKOFF, wait, out)
    if state.strategy in LINEAR:
        if wait <= 0:
            child.waiting = True
            enter(child, ChildState.STARTING, now, out)
        begin_group(state, child, now, out)
    elif wait <= 0:
        try_start(state, child, now, out)


def past_limit(state: State, child: Child, now: float, out: list[Action]) -> None:
    """One restart too many: give up the child, or give up."""
    limit = f"more than {state.intensity.max_restarts} restarts in {state.intensity.period:g} s"
    enter(child, ChildState.FAILED, now, out)
    out.append(Emit("limit", child.spec.id, {"on_limit": child.spec.on_limit.value, "detail": limit}))
    if child.spec.on_limit is OnLimit.ESCALATE:
        begin_shutdown(state, f"{child.spec.id}: {limit}", now, out)


def backoff_over(state: State, child: Child, now: float, out: list[Action]) -> None:
    """The wait is over: start the child, or let its group go on."""
    child.retry_at = None
    if child.spec.id in state.group:
        child.timer_epoch = 0
        child.waiting = child.renew = True
        enter(child, ChildState.STARTING, now, out)
        advance_group(state, now, out)
    else:
        try_start(state, child, now, out)


def ends_supervisor(state: State, child: Child) -> bool:
    """Whether this child's end for good is to end the supervisor (`auto_shutdown`)."""
    if not child.spec.significant or state.auto_shutdown is AutoShutdown.NEVER:
        return False
    if state.auto_shutdown is AutoShutdown.ANY_SIGNIFICANT:
        return True
    return not any(
        other.spec.significant and (other.alive or other.state in (ChildState.STARTING, ChildState.BACKOFF))
        for other in state.children.values()
    )


def remove(state: State, child: Child, out: list[Action]) -> None:
    """Forget a child that has no process."""
    name = child.spec.id
    answer_waiters(child, out)
    del state.children[name]
    state.past[name] = child.incarnation
    for other in child.spec.depends_on:
        state.dependents[other].remove(name)
    del state.dependents[name]
    if name in state.group:
        state.group.remove(name)
    out.append(Emit("removed", name, {}))
    out.append(Forget(name))


def chance(seed: int, child: str, incarnation: int) -> float:
    """A number in [0, 1) for jitter: spread over children and incarnations, the same in every replay."""
    return crc32(f"{seed}/{child}/{incarnation}".encode()) / 2**32

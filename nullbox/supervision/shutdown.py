"""The orderly end of a supervisor: children stop in reverse order, then it is done, or gives up. Pure.

Under one_for_one only dependencies order the children: one is asked to stop as soon as nothing that depends on it
lives, so that a hundred cages stop side by side and egress after them. Under one_for_all and rest_for_one
they stop strictly one after another, as all children do in OTP.
"""

from __future__ import annotations

from nullbox.protocols.errors import ErrorCode
from nullbox.supervision.events import Action, Done, Emit, Escalate, Refuse, StopReason
from nullbox.supervision.groups import LINEAR
from nullbox.supervision.lifecycle import begin_stop, enter
from nullbox.supervision.state import Child, ChildState, Intent, State, SupervisorPhase


def begin_shutdown(state: State, giving_up: str | None, now: float, out: list[Action]) -> None:
    """Stop everything. giving_up: why this supervisor gives up; None when its end is wanted.

    A supervisor that is already stopping stays with its first reason.
    """
    if state.phase in (SupervisorPhase.STOPPING, SupervisorPhase.ENDED):
        return
    state.phase = SupervisorPhase.STOPPING
    state.giving_up = giving_up
    state.group = []
    if giving_up is not None:
        out.append(Emit("escalation", "", {"detail": giving_up}))
    for child in state.children.values():
        child.doomed = child.renew = False
        if not child.alive:
            child.waiting = False
            child.retry_at = None
            child.timer_epoch = 0
            if child.state is not ChildState.FAILED:
                enter(child, ChildState.STOPPED, now, out)
        if child.waiters and child.intent is not Intent.STOP:
            for request in child.waiters:
                out.append(Refuse(request, ErrorCode.UNAVAILABLE, f"{state.name} is shutting down"))
            child.waiters.clear()
    if state.strategy not in LINEAR:
        for child in reversed(state.children.values()):
            stop_if_free(state, child, now, out)
    advance_shutdown(state, None, now, out)


def advance_shutdown(state: State, ended: Child | None, now: float, out: list[Action]) -> None:
    """After the end of a child: stop the next ones, or finish."""
    if state.alive == 0:
        state.phase = SupervisorPhase.ENDED
        out.append(Escalate(state.giving_up) if state.giving_up is not None else Done("shutdown"))
    elif state.strategy in LINEAR:
        last = next(child for child in reversed(state.children.values()) if child.alive)
        if last.state is not ChildState.STOPPING:
            ask(state, last, now, out)
    elif ended is not None:
        for other in reversed(ended.spec.depends_on):
            stop_if_free(state, state.children[other], now, out)


def stop_if_free(state: State, child: Child, now: float, out: list[Action]) -> None:
    """Ask a child to stop, unless something that depends on it lives."""
    if child.alive and child.state is not ChildState.STOPPING:
        children = state.children
        if not any(children[other].alive for other in state.dependents[child.spec.id]):
            ask(state, child, now, out)


def ask(state: State, child: Child, now: float, out: list[Action]) -> None:
    reason = StopReason.SHUTDOWN if state.giving_up is None else StopReason.ESCALATION
    begin_stop(state, child, Intent.STOP, reason, now, out)

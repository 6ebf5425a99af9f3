"""What users ask for: start, stop, restart, add, remove. A stop outranks everything that is pending. Pure."""

from __future__ import annotations

from nullbox.protocols.errors import ErrorCode
from nullbox.supervision.events import (
    Action,
    AddChild,
    Answer,
    Emit,
    Refuse,
    RemoveChild,
    StopReason,
    UserCommand,
)
from nullbox.supervision.exits import backoff_over, remove
from nullbox.supervision.groups import advance_group
from nullbox.supervision.lifecycle import answer_waiters, begin_stop, enter, try_start, waits_for
from nullbox.supervision.spec import AutoShutdown
from nullbox.supervision.state import Child, ChildState, Intent, State, SupervisorPhase


def user_command(state: State, event: UserCommand, now: float, out: list[Action]) -> None:
    """Carry out a command, or refuse it with what would be right."""
    child = find(state, event.child, event.request, out)
    if child is None:
        return
    if event.verb == "stop":
        stop(state, child, event.request, now, out)
    elif event.verb == "start":
        start(state, child, event.request, now, out)
    elif event.verb == "restart":
        restart(state, child, event.request, now, out)
    else:
        allowed = "start, stop, restart"
        out.append(Refuse(event.request, ErrorCode.INVALID, f"verb is {event.verb!r}; allowed: {allowed}"))


def stop(state: State, child: Child, request: int, now: float, out: list[Action]) -> None:
    """Answered once the child has ended. A child that is already down is a wrong state."""
    if child.state in (ChildState.STOPPED, ChildState.FAILED):
        refuse_state(child, request, f"{child.spec.id} is not running", out)
        return
    child.wanted = child.renew = child.waiting = False
    child.waiters.append(request)
    if not child.alive:
        child.timer_epoch = 0
        child.retry_at = None
        enter(child, ChildState.STOPPED, now, out)
        answer_waiters(child, out)
        if state.group:
            advance_group(state, now, out)
    elif child.state is ChildState.STOPPING:
        if child.intent is not Intent.REMOVE:
            child.intent = Intent.STOP
    else:
        begin_stop(state, child, Intent.STOP, StopReason.USER, now, out)


def start(state: State, child: Child, request: int, now: float, out: list[Action]) -> None:
    """Answered once the start is under way. In backoff it cuts the wait short; its limit starts anew."""
    if child.alive or child.state is ChildState.STARTING:
        refuse_state(child, request, f"{child.spec.id} is already {child.state.value}", out)
        return
    revive(state, child, now, out)
    out.append(Answer(request, started(state, child)))


def restart(state: State, child: Child, request: int, now: float, out: list[Action]) -> None:
    """Answered once the old process has ended and the next is under way; a child that is down just starts."""
    if child.state is ChildState.STOPPING:
        if child.intent is Intent.STOP or child.intent is Intent.REMOVE:
            refuse_state(child, request, f"{child.spec.id} is being stopped", out)
        else:
            child.waiters.append(request)
            if child.intent is None or child.intent is Intent.AGAIN:
                child.intent = Intent.RESTART
        return
    if child.alive:
        child.waiters.append(request)
        child.attempts = 0
        child.window.clear()
        begin_stop(state, child, Intent.RESTART, StopReason.RESTART, now, out)
        return
    if child.state is not ChildState.STARTING:
        revive(state, child, now, out)
    out.append(Answer(request, started(state, child)))


def revive(state: State, child: Child, now: float, out: list[Action]) -> None:
    """Start a child that has no process, at a user's wish: with a fresh backoff and a fresh limit."""
    child.wanted = True
    child.attempts = 0
    child.window.clear()
    if child.state is ChildState.BACKOFF:
        backoff_over(state, child, now, out)
    else:
        try_start(state, child, now, out)


def started(state: State, child: Child) -> dict[str, object]:
    answer: dict[str, object] = {"child": child.spec.id, "state": child.state.value}
    if child.waiting:
        answer["waiting_for"] = waits_for(state, child)
    return answer


def add_child(state: State, event: AddChild, now: float, out: list[Action]) -> None:
    """A new child, last in start order; it starts at once where the supervisor has started."""
    spec = event.spec
    problem: tuple[ErrorCode, str] | None = None
    there = [name for name, child in state.children.items() if child.intent is not Intent.REMOVE]
    unknown = [other for other in spec.depends_on if other not in there]
    if state.phase in (SupervisorPhase.STOPPING, SupervisorPhase.ENDED):
        problem = (ErrorCode.UNAVAILABLE, f"{state.name} is shutting down")
    elif spec.problems():
        text = "\n".join(f"{spec.id}.{name} {wrong}" for name, wrong in spec.problems())
        problem = (ErrorCode.INVALID, text)
    elif spec.significant and state.auto_shutdown is AutoShutdown.NEVER:
        problem = (
            ErrorCode.INVALID,
            f"{spec.id}.significant is True under auto_shutdown never; allowed: false",
        )
    elif spec.id in state.children:
        problem = (ErrorCode.CONFLICT, f"there is already a child {spec.id}; remove it first")
    elif unknown:
        problem = (
            ErrorCode.INVALID,
            f"{spec.id}.depends_on names {unknown[0]!r}, which does not exist; there are: {', '.join(there) or 'none'}",
        )
    if problem is not None:
        if event.request is not None:
            out.append(Refuse(event.request, *problem))
        else:
            out.append(Emit("refused", spec.id, {"detail": problem[1]}))
        return
    child = state.children[spec.id] = Child(spec, since=now, wanted=spec.autostart)
    child.incarnation = state.past.pop(spec.id, 0)
    state.dependents[spec.id] = []
    for other in spec.depends_on:
        state.dependents[other].append(spec.id)
    out.append(Emit("added", spec.id, {}))
    if spec.autostart and state.phase is SupervisorPhase.RUNNING:
        try_start(state, child, now, out)
    if event.request is not None:
        out.append(Answer(event.request, started(state, child)))


def remove_child(state: State, event: RemoveChild, now: float, out: list[Action]) -> None:
    """Answered once the child is stopped and forgotten."""
    child = find(state, event.child, event.request, out)
    if child is None:
        return
    dependents = state.dependents[event.child]
    if dependents:
        if event.request is not None:
            text = f"{', '.join(dependents)} depends on {event.child}; remove that first"
            out.append(Refuse(event.request, ErrorCode.CONFLICT, text))
        return
    child.wanted = child.renew = child.waiting = False
    if event.request is not None:
        child.waiters.append(event.request)
    if not child.alive:
        enter(child, ChildState.STOPPED, now, out)
        remove(state, child, out)
        if state.group:
            advance_group(state, now, out)
    elif child.state is ChildState.STOPPING:
        child.intent = Intent.REMOVE
    else:
        begin_stop(state, child, Intent.REMOVE, StopReason.REMOVED, now, out)


def find(state: State, name: str, request: int | None, out: list[Action]) -> Child | None:
    """The child, or a refusal that says which there are."""
    problem: tuple[ErrorCode, str]
    if state.phase in (SupervisorPhase.STOPPING, SupervisorPhase.ENDED):
        problem = (ErrorCode.UNAVAILABLE, f"{state.name} is shutting down")
    elif name in state.children:
        return state.children[name]
    else:
        there = ", ".join(state.children) or "none"
        problem = (ErrorCode.NOT_FOUND, f"there is no {name!r}; there are: {there}")
    if request is not None:
        out.append(Refuse(request, *problem))
    return None


def refuse_state(child: Child, request: int, text: str, out: list[Action]) -> None:
    out.append(Refuse(request, ErrorCode.WRONG_STATE, f"{text}; its state is {child.state.value}"))

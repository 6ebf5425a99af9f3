"""The steps of one child's life, of which all decisions are made: start, ready, stop, kill, end. Pure.

Each step changes the child's record and appends the actions it wants. The order of statements is the order of
actions. Nothing here decides whether a step is right; that is for `exits`, `groups`, `commands`, `shutdown`.
"""

from __future__ import annotations

from nullbox.protocols.messages import ExitReason
from nullbox.supervision.events import (
    Action,
    Answer,
    Emit,
    Kill,
    PeersChanged,
    SendStop,
    SetTimer,
    Spawn,
    StopReason,
    TimerKind,
)
from nullbox.supervision.spec import INFINITY, Heartbeat
from nullbox.supervision.state import Child, ChildState, Intent, State

ITS_TURN = "its turn"
"""What a child waits for that takes turns, where others wait for a dependency."""

MOST_FINISHES = 3
"""Keepers made to finish one stop. If all of them die, what they kept is beyond their help."""

KILL_RETRY = 5.0
"""Seconds after which a SIGKILL whose effect was not seen is sent again: a process can hang in the kernel."""


def enter(child: Child, word: ChildState, now: float, out: list[Action]) -> None:
    """Change the state that the world sees, and say so."""
    if child.state is not word:
        out.append(Emit("state", child.spec.id, {"from": child.state.value, "to": word.value}))
        child.state = word
        child.since = now


def set_timer(state: State, child: Child, kind: TimerKind, delay: float, out: list[Action]) -> None:
    """Start the child's one timer; an older one, still on its way, no longer counts."""
    state.epoch += 1
    child.timer_epoch = state.epoch
    out.append(SetTimer(child.spec.id, kind, state.epoch, delay))


def missing_dependencies(state: State, child: Child) -> list[str]:
    """The dependencies that are not ready now."""
    children = state.children
    return [other for other in child.spec.depends_on if children[other].state is not ChildState.RUNNING]


def waits_for(state: State, child: Child) -> list[str]:
    """What keeps a waiting child from its start, for people."""
    if not child.waiting:
        return []
    return missing_dependencies(state, child) or ([ITS_TURN] if child.spec.id in state.queue else [])


def try_start(state: State, child: Child, now: float, out: list[Action]) -> bool:
    """Spawn the next incarnation, or wait in `starting` for a dependency or a turn. False when it waits."""
    assert not child.alive, f"{child.spec.id} would live twice"
    child.timer_epoch = 0
    child.retry_at = None
    child.renew = False
    if (child.spec.depends_on and missing_dependencies(state, child)) or not take_turn(state, child):
        child.waiting = True
        enter(child, ChildState.STARTING, now, out)
        return False
    child.waiting = False
    if child.last_exit is not None:
        child.restarts_total += 1
    enter(child, ChildState.STARTING, now, out)
    spawn(state, child, now, out)
    set_timer(state, child, TimerKind.START, child.spec.start_timeout, out)
    return True


def spawn(state: State, child: Child, now: float, out: list[Action], *, finish: bool = False) -> None:
    """The process of the next incarnation, and the watch over it."""
    child.alive = True
    state.alive += 1
    child.incarnation += 1
    child.started_at = now
    out.append(Spawn(child.spec.id, child.incarnation, finish))
    if child.spec.heartbeat is not None and child.spec.heartbeat.throughout:
        watch(state, child, child.spec.heartbeat, now, out)


def take_turn(state: State, child: Child) -> bool:
    """Whether the child may start now: it takes no turns, or there is one, and it has that from here on. Else it
    queues."""
    name = child.spec.id
    if not child.spec.takes_turns or state.turns is None:
        return True
    if state.turns_taken >= state.turns or next(iter(state.queue), name) != name:
        state.queue[name] = None
        return False
    state.queue.pop(name, None)
    state.turns_taken += 1
    child.turn = True
    return True


def give_turn_back(state: State, child: Child) -> None:
    """The child has started, or has ended before. Who is next is for `decide` to say, once all else is decided."""
    if child.turn:
        child.turn = False
        state.turns_taken -= 1


def give_turns(state: State, now: float, out: list[Action]) -> None:
    """Start those who wait for a turn while there are any, in the order in which they came."""
    for name in list(state.queue):
        if state.turns is None or state.turns_taken >= state.turns:
            return
        child = state.children.get(name)
        if child is not None and child.waiting and not child.renew:
            try_start(state, child, now, out)
        state.queue.pop(name, None)


def become_ready(state: State, child: Child, now: float, out: list[Action]) -> None:
    """The child counts as started; those who waited only for it start."""
    child.timer_epoch = 0
    child.ready_at = now
    give_turn_back(state, child)
    enter(child, ChildState.RUNNING, now, out)
    out.append(PeersChanged(child.spec.id, True))
    if child.spec.heartbeat is not None and not child.spec.heartbeat.throughout:
        watch(state, child, child.spec.heartbeat, now, out)
    for other in state.dependents[child.spec.id]:
        dependent = state.children[other]
        if dependent.waiting and not dependent.renew:
            try_start(state, dependent, now, out)


def watch(state: State, child: Child, heartbeat: Heartbeat, now: float, out: list[Action]) -> None:
    """Ask for a sign of life from now on."""
    child.answered_at = now
    set_beat(state, child, heartbeat.interval, now, out)


def set_beat(state: State, child: Child, interval: float, now: float, out: list[Action]) -> None:
    """Start the heartbeat's timer, which runs beside the other one."""
    state.epoch += 1
    child.beat_epoch = state.epoch
    child.beat_due = now + interval
    out.append(SetTimer(child.spec.id, TimerKind.HEARTBEAT, state.epoch, interval))


def begin_stop(
    state: State, child: Child, intent: Intent | None, reason: StopReason, now: float, out: list[Action]
) -> None:
    """Ask a live child to stop, with the deadline that its spec gives it."""
    child.intent = intent
    if child.spec.heartbeat is None or not child.spec.heartbeat.throughout:
        child.beat_epoch = 0
    enter(child, ChildState.STOPPING, now, out)
    if child.spec.shutdown <= 0:
        kill(state, child, out)
        return
    out.append(SendStop(child.spec.id, child.incarnation, reason))
    if child.spec.shutdown < INFINITY:
        set_timer(state, child, TimerKind.SHUTDOWN, child.spec.shutdown, out)
    else:
        child.timer_epoch = 0


def kill(state: State, child: Child, out: list[Action]) -> None:
    """SIGKILL, again after a while if nothing was heard."""
    out.append(Kill(child.spec.id, child.incarnation))
    set_timer(state, child, TimerKind.KILL, KILL_RETRY, out)


def condemn(state: State, child: Child, detail: str, now: float, out: list[Action]) -> None:
    """Kill a child that does not answer. Its end will count as its own, with this as the reason."""
    child.doom = ExitReason("timeout", detail)
    child.beat_epoch = 0
    out.append(Emit("killed", child.spec.id, {"incarnation": child.incarnation, "detail": detail}))
    enter(child, ChildState.STOPPING, now, out)
    kill(state, child, out)


def start_over(state: State, ended: Child, now: float, out: list[Action]) -> None:
    """Kill those who are starting and depend on a child that has ended: what they had asked of it may have died with
    it, and would never be answered. They start again when it is back, and no limit counts it.

    They are killed, not stopped: a keeper that is stopped ends what it keeps.
    """
    for other in state.dependents[ended.spec.id]:
        dependent = state.children[other]
        if dependent.alive and dependent.state is ChildState.STARTING:
            dependent.intent = Intent.AGAIN
            enter(dependent, ChildState.STOPPING, now, out)
            kill(state, dependent, out)


def finish(state: State, child: Child, now: float, out: list[Action]) -> None:
    """Make the actor of a keeper once more, to end what its predecessor was asked to end and died over.

    It needs no dependency, waits for no turn, and has as long as any stop.
    """
    child.unfinished += 1
    spawn(state, child, now, out, finish=True)
    if child.spec.shutdown < INFINITY:
        set_timer(state, child, TimerKind.SHUTDOWN, child.spec.shutdown, out)


def end(state: State, child: Child, reason: ExitReason, now: float, out: list[Action]) -> float | None:
    """Take note that the process is gone. Returns how long it had been ready, None if it never was."""
    ready_for = None if child.ready_at is None else now - child.ready_at
    give_turn_back(state, child)
    child.alive = False
    state.alive -= 1
    child.pid = None
    child.timer_epoch = child.beat_epoch = 0
    child.ready_at = None
    child.started_at = None
    child.phase = ""
    child.phase_detail = {}
    child.last_exit = child.doom or reason
    child.doom = None
    child.doomed = False
    out.append(
        Emit(
            "exit",
            child.spec.id,
            {
                "incarnation": child.incarnation,
                "reason": child.last_exit.kind,
                "detail": child.last_exit.detail,
                "code": child.last_exit.code,
                "intent": child.intent.value if child.intent else None,
            },
        )
    )
    if ready_for is not None:
        out.append(PeersChanged(child.spec.id, False))
    return ready_for


def answer_waiters(child: Child, out: list[Action]) -> None:
    """What was asked for has happened."""
    for request in child.waiters:
        out.append(Answer(request, {"child": child.spec.id, "state": child.state.value}))
    child.waiters.clear()

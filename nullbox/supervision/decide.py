"""`decide(state, event, now) → (state, actions)`: everything that a supervisor decides. No clock, no I/O.

The one function that the actor calls and that the tests replay. `now` is any monotonic clock, in seconds; it
must not go backwards between calls.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from nullbox.protocols.messages import ExitReason
from nullbox.supervision.commands import add_child, remove_child, user_command
from nullbox.supervision.events import (
    Action,
    AddChild,
    ChildExited,
    ChildPhase,
    ChildReady,
    ChildSpawned,
    Emit,
    Event,
    HeartbeatAnswered,
    RemoveChild,
    SendPing,
    Shutdown,
    StartSupervisor,
    TimerFired,
    TimerKind,
    UserCommand,
)
from nullbox.supervision.exits import backoff_over, child_ended
from nullbox.supervision.groups import advance_group, start_all
from nullbox.supervision.lifecycle import become_ready, condemn, give_turns, kill, set_beat
from nullbox.supervision.shutdown import begin_shutdown
from nullbox.supervision.state import Child, ChildState, State, SupervisorPhase


def decide(state: State, event: Event, now: float) -> tuple[State, list[Action]]:
    """What follows from `event` at `now`.

    The state is updated in place and returned (see `state` for why). Events about an incarnation or a timer
    that is no longer the present one, or about a child that is not there, change nothing.

    Returns:
        The state, and the actions to perform, in this order.
    """
    out: list[Action] = []
    HANDLERS[type(event)](state, event, now, out)
    if state.queue and state.phase is SupervisorPhase.RUNNING:
        give_turns(state, now, out)
    return state, out


def current(state: State, name: str, incarnation: int) -> Child | None:
    """The child, if this incarnation of it is the one that lives: the fence against late news."""
    child = state.children.get(name)
    if child is None or not child.alive or child.incarnation != incarnation:
        return None
    return child


def on_start(state: State, event: StartSupervisor, now: float, out: list[Action]) -> None:
    if state.phase is SupervisorPhase.NEW:
        state.phase = SupervisorPhase.RUNNING
        start_all(state, now, out)


def on_spawned(state: State, event: ChildSpawned, now: float, out: list[Action]) -> None:
    child = current(state, event.child, event.incarnation)
    if child is not None:
        child.pid = event.pid


def on_ready(state: State, event: ChildReady, now: float, out: list[Action]) -> None:
    child = current(state, event.child, event.incarnation)
    if child is None or child.state is not ChildState.STARTING:
        return
    become_ready(state, child, now, out)
    if state.group:
        advance_group(state, now, out)


def on_exited(state: State, event: ChildExited, now: float, out: list[Action]) -> None:
    child = current(state, event.child, event.incarnation)
    if child is not None:
        child_ended(state, child, event.reason, now, out)


def on_phase(state: State, event: ChildPhase, now: float, out: list[Action]) -> None:
    child = current(state, event.child, event.incarnation)
    if child is None:
        return
    if child.phase != event.phase:
        out.append(Emit("phase", event.child, {"from": child.phase, "to": event.phase}))
    child.phase = event.phase
    child.phase_detail = event.detail


def on_answer(state: State, event: HeartbeatAnswered, now: float, out: list[Action]) -> None:
    child = current(state, event.child, event.incarnation)
    if child is not None:
        child.answered_at = now


def on_timer(state: State, event: TimerFired, now: float, out: list[Action]) -> None:
    child = state.children.get(event.child)
    if child is None:
        return
    if event.kind is TimerKind.HEARTBEAT:
        if event.epoch == child.beat_epoch:
            beat(state, child, now, out)
        return
    if event.epoch != child.timer_epoch:
        return
    child.timer_epoch = 0
    if event.kind is TimerKind.BACKOFF:
        backoff_over(state, child, now, out)
    elif event.kind is TimerKind.START:
        condemn(state, child, f"not ready after {child.spec.start_timeout:g} s", now, out)
    else:
        if event.kind is TimerKind.SHUTDOWN:
            child.doom = child.doom or ExitReason("timeout", f"did not stop in {child.spec.shutdown:g} s")
        kill(state, child, out)


def beat(state: State, child: Child, now: float, out: list[Action]) -> None:
    """Ask again, or give the child up.

    A timer that comes later than a whole interval says that this supervisor was held up itself (suspended, or
    starved); the answers may be waiting behind the timer. Then the child is asked anew before it is judged.
    """
    watch = child.spec.heartbeat
    assert watch is not None
    if now - child.beat_due > watch.interval:
        child.answered_at = now
    elif now - child.answered_at >= watch.timeout:
        condemn(state, child, f"no answer to heartbeats for {now - child.answered_at:.1f} s", now, out)
        return
    child.beat_seq += 1
    out.append(SendPing(child.spec.id, child.incarnation, child.beat_seq))
    set_beat(state, child, watch.interval, now, out)


def on_shutdown(state: State, event: Shutdown, now: float, out: list[Action]) -> None:
    begin_shutdown(state, None, now, out)


Handler = Callable[[State, Any, float, list[Action]], None]

HANDLERS: Mapping[type[Any], Handler] = MappingProxyType(
    {
        StartSupervisor: on_start,
        ChildSpawned: on_spawned,
        ChildReady: on_ready,
        ChildExited: on_exited,
        ChildPhase: on_phase,
        HeartbeatAnswered: on_answer,
        TimerFired: on_timer,
        UserCommand: user_command,
        AddChild: add_child,
        RemoveChild: remove_child,
        Shutdown: on_shutdown,
    }
)

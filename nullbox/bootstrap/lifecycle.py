"""What PID 1 decides: a pure function of its state, one event and the time.

The actor system is PID 1's only child that matters. While it lives and gives signs of life there is nothing to do.
When it dies it is started again after a growing delay; when it goes silent it is killed first. More than
`MAX_RESTARTS` restarts within `PERIOD` mean that starting it again will not help: then the machine holds or reboots,
as the command line says. A power request outranks everything.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from nullbox.bootstrap.cmdline import Cmdline

MAX_RESTARTS: Final = 5
PERIOD: Final = 600.0
"""Seconds. Longer than six times what the actor system takes to give up on a service that cannot be started: about 35
s of restarts, and its own start. With a shorter period a machine whose store is broken would start over for ever."""
FIRST_DELAY: Final = 1.0
MAX_DELAY: Final = 30.0
STOP_TIMEOUT: Final = 30.0
"""Seconds the actor system has for an orderly stop: every cage's own stop included."""

ENDINGS: Final = ("off", "reboot", "reset")
"""`reset` empties the STATE partition before it reboots."""


class Mode(StrEnum):
    STARTING = "starting"
    UP = "up"
    WAITING = "waiting"  # dead, to be started again when `deadline` comes
    STOPPING = "stopping"
    HOLDING = "holding"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class State:
    """deadline: the time at which `Tick` has something to do, or None. healthy: what the tree said last of itself."""

    mode: Mode = Mode.WAITING
    pid: int = 0
    deadline: float | None = None
    deaths: tuple[float, ...] = ()
    ending: str = "off"
    reason: str = ""
    healthy: bool = False


# --- events


@dataclass(frozen=True, slots=True)
class Boot:
    """The phases are done."""


@dataclass(frozen=True, slots=True)
class Spawned:
    pid: int


@dataclass(frozen=True, slots=True)
class SpawnFailed:
    reason: str


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """The actor system says that its tree answers, and whether all services run."""

    healthy: bool = True


@dataclass(frozen=True, slots=True)
class Exited:
    """The actor system's process ended; `how` is for people."""

    pid: int
    how: str


@dataclass(frozen=True, slots=True)
class Power:
    """Somebody asked for an end: one of `ENDINGS`."""

    ending: str


@dataclass(frozen=True, slots=True)
class Tick:
    """The deadline has come, or any other reason to look at the clock."""


Event = Boot | Spawned | SpawnFailed | Heartbeat | Exited | Power | Tick

# --- actions


@dataclass(frozen=True, slots=True)
class Spawn:
    """Start the actor system."""


@dataclass(frozen=True, slots=True)
class Terminate:
    """Ask it to stop in order (SIGTERM)."""

    pid: int


@dataclass(frozen=True, slots=True)
class Kill:
    pid: int
    why: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Show the reason and stay."""

    reason: str


@dataclass(frozen=True, slots=True)
class End:
    """End every process, sync, then power off, or reboot, or empty the state and reboot."""

    ending: str


@dataclass(frozen=True, slots=True)
class Say:
    text: str


Action = Spawn | Terminate | Kill | Hold | End | Say


@dataclass(frozen=True, slots=True)
class Decision:
    state: State
    actions: tuple[Action, ...] = field(default=())


def decide(state: State, event: Event, now: float, options: Cmdline) -> Decision:
    """The next state and what to do, for every state and every event. `now` is monotonic seconds."""
    if state.mode is Mode.DONE:
        return Decision(state)
    match event:
        case Power(ending):
            return _power(state, ending, now)
        case Boot():
            return Decision(replace(state, mode=Mode.STARTING, deadline=None), (Spawn(),))
        case Spawned(pid) if state.mode is Mode.STARTING:
            return Decision(replace(state, pid=pid, deadline=now + options.start_timeout))
        case Spawned(pid):
            # A power request came between Spawn and its result: what was just started has to go again.
            return Decision(replace(state, pid=pid), (Terminate(pid),))
        case SpawnFailed(reason):
            return _died(state, f"could not be started: {reason}", now, options)
        case Exited(pid, how) if pid == state.pid:
            return _died(replace(state, pid=0), how, now, options)
        case Heartbeat(healthy) if state.mode is Mode.STARTING:
            up = replace(state, mode=Mode.UP, deadline=now + options.heartbeat_timeout, healthy=healthy)
            return Decision(up, (Say("the actor system is up"),))
        case Heartbeat(healthy) if state.mode is Mode.UP:
            return Decision(replace(state, deadline=now + options.heartbeat_timeout, healthy=healthy))
        case Tick() if state.deadline is not None and now >= state.deadline:
            return _deadline(state)
        case _:
            # A late heartbeat, a stranger's exit, an early tick: nothing follows from it.
            return Decision(state)


def _power(state: State, ending: str, now: float) -> Decision:
    if ending not in ENDINGS:
        return Decision(state, (Say(f"unknown power request {ending!r}; known: {', '.join(ENDINGS)}"),))
    if state.mode is Mode.STOPPING:
        return Decision(state)
    if state.pid == 0:
        return Decision(replace(state, mode=Mode.DONE, ending=ending, deadline=None), (End(ending),))
    stopping = replace(state, mode=Mode.STOPPING, ending=ending, deadline=now + STOP_TIMEOUT)
    return Decision(stopping, (Say(f"power {ending}: stopping the actor system"), Terminate(state.pid)))


def _died(state: State, how: str, now: float, options: Cmdline) -> Decision:
    state = replace(state, healthy=False)
    if state.mode is Mode.STOPPING:
        done = replace(state, mode=Mode.DONE, deadline=None)
        return Decision(done, (End(state.ending),))
    deaths = (*(t for t in state.deaths if now - t <= PERIOD), now)
    if len(deaths) > MAX_RESTARTS:
        reason = f"the actor system ended {len(deaths)} times within {PERIOD:.0f} s, the last time: {how}"
        if options.on_failure == "reboot":
            return Decision(replace(state, mode=Mode.DONE, ending="reboot", reason=reason), (End("reboot"),))
        held = replace(state, mode=Mode.HOLDING, deadline=None, deaths=deaths, reason=reason)
        return Decision(held, (Hold(reason),))
    delay = min(FIRST_DELAY * 2 ** (len(deaths) - 1), MAX_DELAY)
    waiting = replace(state, mode=Mode.WAITING, deadline=now + delay, deaths=deaths, reason=how)
    return Decision(waiting, (Say(f"the actor system {how}; starting it again in {delay:.0f} s"),))


def _deadline(state: State) -> Decision:
    match state.mode:
        case Mode.WAITING:
            return Decision(replace(state, mode=Mode.STARTING, deadline=None), (Spawn(),))
        case Mode.STARTING:
            return Decision(replace(state, deadline=None), (Kill(state.pid, "it did not come up in time"),))
        case Mode.UP:
            return Decision(replace(state, deadline=None), (Kill(state.pid, "it gave no sign of life"),))
        case Mode.STOPPING:
            return Decision(replace(state, deadline=None), (Kill(state.pid, "it did not stop in time"),))
        case _:
            return Decision(replace(state, deadline=None))

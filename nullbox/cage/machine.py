"""One VM's life as a table: state × event → next state and actions. Pure; time is an argument.

The cage actor feeds events (what the kernel, the guest and the operator say) and performs the actions that come back.
It holds no decision of its own. Every pair of state and event is in the table, and a test says so.

A VM is `starting` until its launcher says hello. `pausing` and `resuming` last until the kernel confirms. `stopping`
lasts until the process is gone: SIGTERM to the agent, and SIGKILL to the cgroup when the grace is over. A VM that is
paused when it is to be stopped is thawed first, so that the agent gets its SIGTERM; one that has not said hello has
nobody to hear it, and is killed. `exited` is for ever: a restart is another machine.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum, StrEnum, auto
from types import MappingProxyType


class State(StrEnum):
    STARTING = "starting"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    RESUMING = "resuming"
    STOPPING = "stopping"
    EXITED = "exited"


class Event(Enum):
    """What can happen. `HELLO` from the launcher; `FROZEN`, `THAWED` and `ENDED` from the kernel; `LATE` from the
    clock, when the deadline of the state has passed; the others from people."""

    HELLO = auto()
    PAUSE = auto()
    RESUME = auto()
    STOP = auto()
    FROZEN = auto()
    THAWED = auto()
    ENDED = auto()
    LATE = auto()


class Action(Enum):
    """What the actor does, in the order given.

    `FREEZE`, `THAW`: write to the cgroup and report FROZEN or THAWED once it is so. `TERMINATE`: SIGTERM through the
    launcher. `KILL`: SIGKILL to the whole cgroup. `REPORT`: tell the supervisor the new state. `DONE`, `REFUSE`,
    `FAIL`: answer the command under way: done, wrong state, timed out. `EXIT`: the actor's own end follows.
    """

    FREEZE = auto()
    THAW = auto()
    TERMINATE = auto()
    KILL = auto()
    REPORT = auto()
    DONE = auto()
    REFUSE = auto()
    FAIL = auto()
    EXIT = auto()


@dataclass(frozen=True, slots=True)
class Times:
    """How long a state may last, in seconds.

    start: until the launcher's hello; a second under KVM, a minute on a busy machine that emulates KVM. freeze: until
    the kernel confirms; milliseconds under KVM, seconds on a busy machine that emulates it. grace: between SIGTERM and
    SIGKILL, and then between one SIGKILL and the next.
    """

    start: float = 180.0
    freeze: float = 10.0
    grace: float = 5.0

    def of(self, state: State) -> float | None:
        return {
            State.STARTING: self.start,
            State.PAUSING: self.freeze,
            State.RESUMING: self.freeze,
            State.STOPPING: self.grace,
        }.get(state)


Row = tuple[State, tuple[Action, ...]]

S, E, A = State, Event, Action

_NOTHING: tuple[Action, ...] = ()
_REFUSED = (A.REFUSE,)
_OVER = (A.REPORT, A.EXIT)

TABLE = MappingProxyType(
    {
        (S.STARTING, E.HELLO): (S.RUNNING, (A.REPORT,)),
        (S.STARTING, E.PAUSE): (S.STARTING, _REFUSED),
        (S.STARTING, E.RESUME): (S.STARTING, _REFUSED),
        (S.STARTING, E.STOP): (S.STOPPING, (A.KILL, A.REPORT)),
        (S.STARTING, E.FROZEN): (S.STARTING, (A.THAW,)),
        (S.STARTING, E.THAWED): (S.STARTING, _NOTHING),
        (S.STARTING, E.ENDED): (S.EXITED, _OVER),
        (S.STARTING, E.LATE): (S.STOPPING, (A.KILL, A.REPORT)),
        #
        (S.RUNNING, E.HELLO): (S.RUNNING, _NOTHING),
        (S.RUNNING, E.PAUSE): (S.PAUSING, (A.FREEZE,)),
        (S.RUNNING, E.RESUME): (S.RUNNING, _REFUSED),
        (S.RUNNING, E.STOP): (S.STOPPING, (A.TERMINATE, A.REPORT)),
        (S.RUNNING, E.FROZEN): (S.PAUSED, (A.REPORT,)),  # by hand, from outside: it is what it is
        (S.RUNNING, E.THAWED): (S.RUNNING, _NOTHING),
        (S.RUNNING, E.ENDED): (S.EXITED, _OVER),
        (S.RUNNING, E.LATE): (S.RUNNING, _NOTHING),
        #
        (S.PAUSING, E.HELLO): (S.PAUSING, _NOTHING),
        (S.PAUSING, E.PAUSE): (S.PAUSING, _REFUSED),
        (S.PAUSING, E.RESUME): (S.PAUSING, _REFUSED),
        (S.PAUSING, E.STOP): (S.STOPPING, (A.FAIL, A.THAW, A.TERMINATE, A.REPORT)),
        (S.PAUSING, E.FROZEN): (S.PAUSED, (A.DONE, A.REPORT)),
        (S.PAUSING, E.THAWED): (S.PAUSING, _NOTHING),
        (S.PAUSING, E.ENDED): (S.EXITED, (A.FAIL, *_OVER)),
        (S.PAUSING, E.LATE): (S.RUNNING, (A.THAW, A.FAIL)),
        #
        (S.PAUSED, E.HELLO): (S.PAUSED, _NOTHING),
        (S.PAUSED, E.PAUSE): (S.PAUSED, _REFUSED),
        (S.PAUSED, E.RESUME): (S.RESUMING, (A.THAW,)),
        (S.PAUSED, E.STOP): (S.STOPPING, (A.THAW, A.TERMINATE, A.REPORT)),
        (S.PAUSED, E.FROZEN): (S.PAUSED, _NOTHING),
        (S.PAUSED, E.THAWED): (S.RUNNING, (A.REPORT,)),
        (S.PAUSED, E.ENDED): (S.EXITED, _OVER),
        (S.PAUSED, E.LATE): (S.PAUSED, _NOTHING),
        #
        (S.RESUMING, E.HELLO): (S.RESUMING, _NOTHING),
        (S.RESUMING, E.PAUSE): (S.RESUMING, _REFUSED),
        (S.RESUMING, E.RESUME): (S.RESUMING, _REFUSED),
        (S.RESUMING, E.STOP): (S.STOPPING, (A.FAIL, A.THAW, A.TERMINATE, A.REPORT)),
        (S.RESUMING, E.FROZEN): (S.RESUMING, _NOTHING),
        (S.RESUMING, E.THAWED): (S.RUNNING, (A.DONE, A.REPORT)),
        (S.RESUMING, E.ENDED): (S.EXITED, (A.FAIL, *_OVER)),
        (S.RESUMING, E.LATE): (S.PAUSED, (A.FAIL,)),
        #
        (S.STOPPING, E.HELLO): (S.STOPPING, (A.TERMINATE,)),
        (S.STOPPING, E.PAUSE): (S.STOPPING, _REFUSED),
        (S.STOPPING, E.RESUME): (S.STOPPING, _REFUSED),
        (S.STOPPING, E.STOP): (S.STOPPING, _NOTHING),
        (S.STOPPING, E.FROZEN): (S.STOPPING, (A.THAW,)),
        (S.STOPPING, E.THAWED): (S.STOPPING, _NOTHING),
        (S.STOPPING, E.ENDED): (S.EXITED, _OVER),
        (S.STOPPING, E.LATE): (S.STOPPING, (A.KILL,)),
        #
        (S.EXITED, E.HELLO): (S.EXITED, _NOTHING),
        (S.EXITED, E.PAUSE): (S.EXITED, _REFUSED),
        (S.EXITED, E.RESUME): (S.EXITED, _REFUSED),
        (S.EXITED, E.STOP): (S.EXITED, _NOTHING),
        (S.EXITED, E.FROZEN): (S.EXITED, _NOTHING),
        (S.EXITED, E.THAWED): (S.EXITED, _NOTHING),
        (S.EXITED, E.ENDED): (S.EXITED, _NOTHING),
        (S.EXITED, E.LATE): (S.EXITED, _NOTHING),
    }
)
"""Every state × every event. A stop that meets a stopping or exited VM has nothing left to do."""


@dataclass(frozen=True, slots=True)
class Machine:
    """The state of one VM. deadline: when the state becomes too long, on the clock of `step`; None: never."""

    state: State
    deadline: float | None
    times: Times


def started(now: float, times: Times = Times()) -> Machine:
    """A VM whose process was just started."""
    return _enter(Machine(State.STARTING, None, times), State.STARTING, now)


def adopted(*, frozen: bool, now: float, times: Times = Times()) -> Machine:
    """A VM that an earlier actor started and that is still there: paused, or starting until it says hello again."""
    return _enter(Machine(State.STARTING, None, times), State.PAUSED if frozen else State.STARTING, now)


def step(machine: Machine, event: Event, now: float) -> tuple[Machine, tuple[Action, ...]]:
    """What follows from an event. now: seconds on a monotonic clock."""
    state, actions = TABLE[machine.state, event]
    again = event is Event.LATE and machine.deadline is not None
    return (_enter(machine, state, now) if state is not machine.state or again else machine), actions


def late(machine: Machine, now: float) -> bool:
    """Whether the deadline has passed, so that `LATE` is due."""
    return machine.deadline is not None and now >= machine.deadline


def _enter(machine: Machine, state: State, now: float) -> Machine:
    lasts = machine.times.of(state)
    return replace(machine, state=state, deadline=None if lasts is None else now + lasts)


SHOWN = MappingProxyType({State.PAUSING: State.RUNNING, State.RESUMING: State.PAUSED})
"""States that people see by another name: what is not confirmed has not happened."""

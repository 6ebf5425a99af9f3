"""What a supervisor remembers: one record per child, updated in place by `decide`, and by nothing else.

In place, because a copy of a thousand records per event would make the cost of one child's restart grow with the
number of its siblings. It stays a function's state all the same: equal states given equal events become equal
again and ask for equal actions, `==` compares them, and `copy.deepcopy` forks them (tests do both).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from nullbox.protocols.messages import ExitReason
from nullbox.supervision.intensity import Intensity, Window
from nullbox.supervision.order import start_order
from nullbox.supervision.spec import AutoShutdown, ChildSpec, Strategy, check_specs


class ChildState(StrEnum):
    """The words of the public contract (`paused` is a running child that says so)."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"


class Intent(StrEnum):
    """What the end of a child that is being stopped leads to. Without one, an end is the child's own.

    AGAIN: killed while it started, since what it had asked of a dependency died with that; what a keeper keeps stays.
    """

    STOP = "stop"
    RESTART = "restart"
    AGAIN = "again"
    GROUP = "group"
    REMOVE = "remove"


class SupervisorPhase(StrEnum):
    NEW = "new"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"


@dataclass(slots=True)
class Child:
    """One child. All times are of the clock that `decide` is given, in seconds.

    alive: a process of `incarnation` exists or is being made; only its exit notice clears this.
    wanted: the user's wish; False from a user's stop (or `autostart = false`) to a user's start.
    intent: see `Intent`; `doom` is why we kill it (start timeout, heartbeat), and replaces the exit's reason.
    attempts: restarts since it was last stable, for backoff.
    waiting: in `starting` with no process yet, for a dependency or for its turn. turn: whether it has one.
    unfinished: keepers that died over one stop, see `lifecycle.finish`.
    doomed, renew: its part in a group restart that is under way: still to be stopped, to be started again.
    waiters: requests to answer when the present stop or restart is through.
    """

    spec: ChildSpec
    state: ChildState = ChildState.STOPPED
    since: float = 0.0
    incarnation: int = 0
    alive: bool = False
    pid: int | None = None
    wanted: bool = True
    intent: Intent | None = None
    doom: ExitReason | None = None
    waiting: bool = False
    turn: bool = False
    unfinished: int = 0
    doomed: bool = False
    renew: bool = False
    attempts: int = 0
    window: Window = field(default_factory=Window)
    restarts_total: int = 0
    started_at: float | None = None
    ready_at: float | None = None
    retry_at: float | None = None
    last_exit: ExitReason | None = None
    timer_epoch: int = 0
    beat_epoch: int = 0
    beat_due: float = 0.0
    beat_seq: int = 0
    answered_at: float = 0.0
    phase: str = ""
    phase_detail: Mapping[str, Any] = field(default_factory=dict)
    waiters: list[int] = field(default_factory=list)


@dataclass(slots=True)
class State:
    """One supervisor.

    children: by id, in start order. dependents: who depends on whom, the other way round.
    window: the restarts of the children whose limit escalates; the others have windows of their own.
    group: the children that a one_for_all or rest_for_one restart (or the first start) is working on.
    past: the last incarnation of each child that was removed; one that comes back under its name counts on.
    turns: how many of the children that take turns may start at once; None: all. queue: those who wait for a turn, as
    they came. alive: how many children have a process. giving_up: why, once the limit is passed. seed: for jitter.
    """

    name: str
    strategy: Strategy
    intensity: Intensity
    auto_shutdown: AutoShutdown
    children: dict[str, Child]
    dependents: dict[str, list[str]]
    seed: int = 0
    phase: SupervisorPhase = SupervisorPhase.NEW
    window: Window = field(default_factory=Window)
    group: list[str] = field(default_factory=list)
    past: dict[str, int] = field(default_factory=dict)
    turns: int | None = None
    turns_taken: int = 0
    queue: dict[str, None] = field(default_factory=dict)
    alive: int = 0
    epoch: int = 0
    giving_up: str | None = None


def new_state(
    name: str,
    specs: Iterable[ChildSpec] = (),
    *,
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    intensity: Intensity | None = None,
    auto_shutdown: AutoShutdown = AutoShutdown.NEVER,
    seed: int = 0,
    turns: int | None = None,
) -> State:
    """A supervisor that has not started, its children checked and in start order.

    turns: see `State`; for strategies whose children do not start one after another anyway.

    Raises:
        NullBoxError: `invalid`: a spec is not sound, two share an id, a dependency is unknown or circular.
    """
    given = list(specs)
    check_specs(given, auto_shutdown)
    by_id = {spec.id: spec for spec in given}
    order = start_order({spec.id: spec.depends_on for spec in given})
    children = {child: Child(by_id[child], wanted=by_id[child].autostart) for child in order}
    dependents: dict[str, list[str]] = {child: [] for child in order}
    for child in order:
        for other in by_id[child].depends_on:
            dependents[other].append(child)
    return State(name, strategy, intensity or Intensity(), auto_shutdown, children, dependents, seed, turns=turns)

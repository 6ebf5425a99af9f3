"""What must never happen and what must, whatever a supervisor goes through: books kept as naively as can be, beside its
own. `Violation` is raised when the supervisor does what it must not or leaves undone what it must do.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from nullbox.supervision import events as ev
from nullbox.supervision.lifecycle import MOST_FINISHES
from nullbox.supervision.snapshot import tree
from nullbox.supervision.spec import OnLimit, Restart
from nullbox.supervision.state import Child, ChildState, Intent, State, SupervisorPhase


class Violation(AssertionError):
    """The supervisor broke a rule."""


@dataclass
class Process:
    """One simulated process: the newest of its child."""

    incarnation: int
    alive: bool = True
    ready: bool = False
    ready_at: float = 0.0
    stop_asked: bool = False
    killed: bool = False
    wedged: bool = False  # answers nothing: no readiness, no heartbeat, no stop
    condemned: bool = False  # killed by the supervisor's own judgement
    finish: bool = False  # a keeper's, made to end what another one was to end

    @property
    def has_turn(self) -> bool:
        """Whether it starts, in the sense in which only so many may."""
        return self.alive and not self.ready and not self.finish


@dataclass
class Books:
    """What the oracle knows of a child, kept independently of the supervisor."""

    user_stopped: bool = False
    finishes: int = 0
    entries: list[tuple[float, float]] = field(default_factory=list)
    attempts: int = 0


class Oracle:
    def __init__(self, state: State) -> None:
        self.state = state
        self.now = 1000.0
        self.processes: dict[str, Process] = {}
        self.books = {name: Books(user_stopped=not c.wanted) for name, c in state.children.items()}
        self.shared: list[tuple[float, float]] = []
        self.pending: dict[int, str] = {}
        self.ended: ev.Done | ev.Escalate | None = None
        self.history: list[str] = []

    def violation(self, text: str) -> Violation:
        return Violation(text + "\n" + "\n".join(self.history[-40:]))

    def check_next(self, name: str, incarnation: int) -> None:
        process = self.processes.get(name)
        if process is not None and process.alive:
            raise self.violation(f"{name} would live twice")
        before = process.incarnation if process is not None else 0
        if incarnation != before + 1:
            raise self.violation(f"{name} goes from incarnation {before} to {incarnation}")

    def check_spawn(self, name: str, incarnation: int) -> None:
        self.check_next(name, incarnation)
        if self.books[name].user_stopped:
            raise self.violation(f"{name} was stopped by its user and is started all the same")
        if self.state.phase is not SupervisorPhase.RUNNING:
            raise self.violation(f"{name} is started by a supervisor that is {self.state.phase}")
        for other in self.state.children[name].spec.depends_on:
            needed = self.processes.get(other)
            if needed is None or not needed.alive or not needed.ready:
                raise self.violation(f"{name} is started before {other} is ready")
        takes_turns = [other for other, child in self.state.children.items() if child.spec.takes_turns]
        if self.state.turns is not None and name in takes_turns:
            starting = [o for o in takes_turns if o in self.processes and self.processes[o].has_turn]
            if len(starting) >= self.state.turns:
                raise self.violation(f"{name} is started beside {starting}, out of turn")

    def owed(self, name: str, process: Process, kind: str) -> bool:
        """Whether a user's wish that something end is still to be fulfilled when this process ends so."""
        child = self.state.children[name]
        books = self.books[name]
        wish = books.user_stopped or child.intent in (Intent.RESTART, Intent.REMOVE)
        books.finishes = books.finishes if process.finish else 0
        return (
            child.spec.keeper
            and wish
            and not child.doomed
            and child.spec.shutdown > 0
            and self.state.phase is SupervisorPhase.RUNNING
            and kind in ("crash", "signal", "exit", "timeout")
            and books.finishes < MOST_FINISHES
        )

    def check_stop(self, name: str, incarnation: int) -> Process:
        process = self.processes.get(name)
        if process is None or not process.alive or process.incarnation != incarnation:
            raise self.violation(f"{name}/{incarnation} is stopped but does not live")
        orderly = not process.stop_asked and not process.killed and self.state.children[name].doom is None
        if self.state.phase is SupervisorPhase.STOPPING and orderly:
            for other in self.state.dependents[name]:
                if self.processes.get(other) and self.processes[other].alive:
                    raise self.violation(f"{name} is stopped before {other}, which depends on it")
        return process

    def check_always(self) -> None:
        for name, child in self.state.children.items():
            process = self.processes.get(name)
            if child.alive != (process is not None and process.alive):
                raise self.violation(f"{name}: the supervisor is wrong about whether it lives")
        if self.state.alive != sum(child.alive for child in self.state.children.values()):
            raise self.violation("the count of living children is wrong")
        for node in tree(self.state, self.now):
            assert node["uptime_s"] is None or node["uptime_s"] >= 0

    def check_rest(self) -> None:
        if self.ended is not None:
            if self.pending:
                raise self.violation(f"never answered: {self.pending}")
            return
        if self.state.phase is SupervisorPhase.STOPPING:
            raise self.violation("shutdown does not end")
        for name, child in self.state.children.items():
            if child.state is ChildState.STARTING:
                # At rest nobody has a turn, so that nobody may wait for one either.
                if not child.waiting or not any(
                    self.state.children[other].state is not ChildState.RUNNING for other in child.spec.depends_on
                ):
                    raise self.violation(f"{name} waits for nothing")
            elif child.state not in (ChildState.RUNNING, ChildState.STOPPED, ChildState.FAILED):
                raise self.violation(f"{name} is still {child.state}")
        if self.pending:
            raise self.violation(f"never answered: {self.pending}")

    def expectation(self, event: ev.Event):
        """What must follow, where one child's own end is all that happens."""
        if not isinstance(event, ev.ChildExited) or self.state.phase is not SupervisorPhase.RUNNING:
            return None
        child = self.state.children.get(event.child)
        process = self.processes.get(event.child)
        if child is None or process is None or event.incarnation != process.incarnation or not child.alive:
            return None
        asked = process.stop_asked or (process.killed and not process.condemned)
        if asked or child.doomed or child.intent is not None:
            return None
        kind = "timeout" if process.condemned else event.reason.kind
        return self.expected_end(child, kind, process)

    def expected_end(self, child: Child, kind: str, process: Process):
        spec, books, limit = child.spec, self.books[child.spec.id], self.state.intensity
        name, now = spec.id, self.now
        again = {
            Restart.PERMANENT: True,
            Restart.TRANSIENT: kind not in ("normal", "shutdown"),
            Restart.TEMPORARY: False,
        }[spec.restart] or (spec.keeper and kind in ("crash", "signal", "exit", "timeout"))
        if not again:

            def rests(actions: list[ev.Action]) -> None:
                for action in actions:
                    if isinstance(action, ev.Spawn | ev.SetTimer) and action.child == name:
                        raise self.violation(f"{name} ended {kind} and is restarted as {spec.restart}")

            return rests
        if process.ready and now - process.ready_at >= spec.backoff.reset_after:
            books.attempts = 0
        entries = books.entries if spec.on_limit is OnLimit.FAIL else self.shared
        while entries and now - entries[0][0] > limit.period + sum(wait for _, wait in entries):
            entries.pop(0)
        entries.append((now, 0.0))
        if len(entries) > limit.max_restarts:

            def gives_up(actions: list[ev.Action]) -> None:
                if child.state is not ChildState.FAILED:
                    raise self.violation(f"{name} is past its limit and is {child.state}")
                gave_up = self.state.giving_up is not None
                if gave_up != (spec.on_limit is OnLimit.ESCALATE):
                    raise self.violation(f"{name} has on_limit {spec.on_limit}, and the supervisor ends: {gave_up}")

            return gives_up
        full = min(spec.backoff.max, spec.backoff.initial * spec.backoff.factor**books.attempts)
        books.attempts += 1

        def comes_back(actions: list[ev.Action]) -> None:
            waits = [
                a.delay
                for a in actions
                if isinstance(a, ev.SetTimer) and a.child == name and a.kind is ev.TimerKind.BACKOFF
            ]
            if full > 0:
                if len(waits) != 1 or not full * (1 - spec.backoff.jitter) <= waits[0] <= full:
                    raise self.violation(f"{name} waits {waits}, not up to {full}")
                entries[-1] = (now, waits[0])
            elif waits:
                raise self.violation(f"{name} has no backoff and waits {waits}")
            elif child.state is not ChildState.STARTING or not (child.alive or child.waiting):
                raise self.violation(f"{name} is not restarted but {child.state}")

        return comes_back

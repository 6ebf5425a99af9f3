"""A world for `decide`: processes, timers, a clock and users, all simulated, with an oracle watching every step.

The oracle keeps its own books, as naively as it can, and raises `Violation` when the supervisor does what it must
not or leaves undone what it must do. Schedules are drawn from a `random.Random`, which Hypothesis can supply.
"""

from __future__ import annotations

import copy
import heapq
import random
from dataclasses import dataclass, field

from nullbox.protocols.messages import ExitReason
from nullbox.supervision import events as ev
from nullbox.supervision.backoff import Backoff
from nullbox.supervision.decide import decide
from nullbox.supervision.intensity import Intensity
from nullbox.supervision.snapshot import tree
from nullbox.supervision.spec import ChildSpec, Heartbeat, OnLimit, Restart, Strategy
from nullbox.supervision.state import Child, ChildState, State, SupervisorPhase, new_state

ENDS = ("normal", "shutdown", "crash", "signal", "exit", "failed")


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


@dataclass
class Books:
    """What the oracle knows of a child, kept independently of the supervisor."""

    user_stopped: bool = False
    entries: list[tuple[float, float]] = field(default_factory=list)
    attempts: int = 0


class World:
    def __init__(self, state: State) -> None:
        self.state = state
        self.now = 1000.0
        self.processes: dict[str, Process] = {}
        self.books = {name: Books(user_stopped=not c.wanted) for name, c in state.children.items()}
        self.shared: list[tuple[float, float]] = []
        self.timers: list[tuple[float, int, ev.TimerFired]] = []
        self.pending: dict[int, str] = {}
        self.requests = 0
        self.spawned: list[str] = []
        self.stopped: list[str] = []
        self.ended: ev.Done | ev.Escalate | None = None
        self.history: list[str] = []

    # --- what the world does to the supervisor

    def send(self, event: ev.Event) -> list[ev.Action]:
        expect = self.expectation(event)
        self.history.append(f"{self.now:.3f} {event!r}")
        before_exit_state = self.state
        _, actions = decide(self.state, event, self.now)
        assert before_exit_state is self.state
        for action in actions:
            self.history.append(f"    {action!r}")
            self.perform(action)
        if expect is not None:
            expect(actions)
        self.check_always()
        return actions

    def start(self) -> None:
        self.send(ev.StartSupervisor())

    def ready(self, name: str) -> None:
        process = self.processes[name]
        if not process.stop_asked and not process.killed:  # too late to count otherwise
            process.ready = True
            process.ready_at = self.now
        self.send(ev.ChildReady(name, process.incarnation))

    def exit(self, name: str, kind: str, code: int | None = None) -> list[ev.Action]:
        process = self.processes[name]
        process.alive = False
        actions = self.send(ev.ChildExited(name, process.incarnation, ExitReason(kind, "", code)))
        if process.ready and self.state.phase is SupervisorPhase.RUNNING:
            for other in self.state.dependents.get(name, []):
                needy = self.processes.get(other)
                if needy and needy.alive and not (needy.ready or needy.stop_asked or needy.killed):
                    raise self.violation(f"{other} goes on starting, though {name}, which it asked things of, is gone")
        return actions

    def stale(self, name: str, what: str) -> None:
        """News of an incarnation that is gone must change nothing."""
        process = self.processes[name]
        old = process.incarnation - (1 if process.alive else 0)
        events = {
            "ready": ev.ChildReady(name, old),
            "exit": ev.ChildExited(name, old, ExitReason("signal", "", 9)),
            "phase": ev.ChildPhase(name, old, "paused", {}),
            "pong": ev.HeartbeatAnswered(name, old, 1),
            "timer": ev.TimerFired(name, ev.TimerKind.BACKOFF, self.state.children[name].timer_epoch - 1),
            "beat": ev.TimerFired(name, ev.TimerKind.HEARTBEAT, self.state.children[name].beat_epoch - 1),
        }
        if what == "timer" and self.state.children[name].timer_epoch == 0:
            return
        if what == "beat" and self.state.children[name].beat_epoch == 0:
            return
        before = copy.deepcopy(self.state)
        actions = self.send(events[what])
        if actions or self.state != before:
            raise self.violation(f"late {what} of {name} changed something: {actions}")

    def command(self, name: str, verb: str) -> None:
        self.requests += 1
        self.pending[self.requests] = f"{verb} {name}"
        books = self.books.get(name)
        process = self.processes.get(name)
        child = self.state.children.get(name)
        accepted = child is not None and self.state.phase is SupervisorPhase.RUNNING
        if accepted and books is not None and child is not None:
            down = not (process and process.alive)
            if verb == "stop" and child.state not in (ChildState.STOPPED, ChildState.FAILED):
                books.user_stopped = True
            fresh = child.state is not ChildState.STARTING if down else verb == "restart"
            if verb in ("start", "restart") and fresh and child.state is not ChildState.STOPPING:
                books.user_stopped = False
                books.entries.clear()
                books.attempts = 0
        self.send(ev.UserCommand(name, verb, self.requests))
        if accepted and verb == "stop" and process is not None and process.alive:
            asked = process.stop_asked or process.killed
            if not asked:
                raise self.violation(f"stop of {name} was taken but nothing asks it to stop")

    def add(self, spec: ChildSpec) -> None:
        self.requests += 1
        self.pending[self.requests] = f"add {spec.id}"
        if spec.id not in self.state.children:
            self.books[spec.id] = Books(user_stopped=not spec.autostart)
        self.send(ev.AddChild(spec, self.requests))

    def remove(self, name: str) -> None:
        self.requests += 1
        self.pending[self.requests] = f"remove {name}"
        self.send(ev.RemoveChild(name, self.requests))

    def advance(self, seconds: float) -> None:
        """Let time pass, timers fire in order."""
        end = self.now + seconds
        while self.timers and self.timers[0][0] <= end and self.ended is None:
            due, _, timer = heapq.heappop(self.timers)
            self.now = max(self.now, due)
            self.send(timer)
        self.now = max(self.now, end)

    def next_timer(self) -> None:
        if self.timers and self.ended is None:
            self.advance(self.timers[0][0] - self.now)

    def settle(self) -> None:
        """Everybody behaves until nothing is under way. Then nothing may be left hanging."""
        for _ in range(10_000):
            if self.ended is not None:
                break
            moved = False
            for name, process in list(self.processes.items()):
                if not process.alive or name not in self.state.children:
                    continue
                if process.killed:
                    moved = True
                    self.exit(name, "signal", 9)
                elif process.stop_asked and not process.wedged:
                    moved = True
                    self.exit(name, "shutdown")
                elif not process.ready and not process.wedged and not process.stop_asked:
                    moved = True
                    self.ready(name)
            if moved:
                continue
            if self.in_motion():
                self.next_timer()
            else:
                break
        else:
            raise self.violation("does not come to rest")
        self.check_rest()

    def in_motion(self) -> bool:
        for name, process in self.processes.items():
            if process.alive and process.wedged and name in self.state.children:
                spec = self.state.children[name].spec
                if process.stop_asked:
                    ends = process.killed or spec.shutdown < float("inf")
                else:
                    ends = process.killed or not process.ready or spec.heartbeat is not None
                if ends:
                    return True  # somebody has to do something about it
                process.wedged = False  # nobody was told to
                return True
        return any(
            c.state in (ChildState.STOPPING, ChildState.BACKOFF) or (c.state is ChildState.STARTING and c.alive)
            for c in self.state.children.values()
        )

    # --- what the supervisor does to the world

    def perform(self, action: ev.Action) -> None:
        if self.ended is not None:
            raise self.violation(f"{action} after the end")
        match action:
            case ev.Spawn(name, incarnation):
                self.check_spawn(name, incarnation)
                self.processes[name] = Process(incarnation)
                self.spawned.append(name)
            case ev.SendStop(name, incarnation, _):
                self.check_stop(name, incarnation).stop_asked = True
                self.stopped.append(name)
            case ev.Kill(name, incarnation):
                process = self.check_stop(name, incarnation)
                if not process.stop_asked and self.state.children[name].doom is not None:
                    process.condemned = True
                elif not process.stop_asked and not process.killed:
                    self.stopped.append(name)
                process.killed = True
            case ev.SendPing(name, incarnation, seq):
                process = self.processes[name]
                if process.alive and process.incarnation == incarnation and not process.wedged:
                    self.send_later(ev.HeartbeatAnswered(name, incarnation, seq))
            case ev.SetTimer(name, kind, epoch, delay):
                timer = ev.TimerFired(name, kind, epoch)
                heapq.heappush(self.timers, (self.now + delay, epoch, timer))
            case ev.Answer(request, _) | ev.Refuse(request, _, _):
                if self.pending.pop(request, None) is None:
                    raise self.violation(f"request {request} was answered twice")
            case ev.Done() | ev.Escalate():
                self.ended = action
                if any(p.alive for p in self.processes.values()):
                    raise self.violation("it ended before its children")
                if isinstance(action, ev.Escalate) != (self.state.giving_up is not None):
                    raise self.violation("the wrong kind of end")

    def send_later(self, event: ev.Event) -> None:
        self.state, actions = decide(self.state, event, self.now)
        if actions:
            raise self.violation(f"an answered heartbeat led to {actions}")

    # --- the oracle

    def violation(self, text: str) -> Violation:
        return Violation(text + "\n" + "\n".join(self.history[-40:]))

    def check_spawn(self, name: str, incarnation: int) -> None:
        process = self.processes.get(name)
        if process is not None and process.alive:
            raise self.violation(f"{name} would live twice")
        before = process.incarnation if process is not None else 0
        if incarnation != before + 1:
            raise self.violation(f"{name} goes from incarnation {before} to {incarnation}")
        if self.books[name].user_stopped:
            raise self.violation(f"{name} was stopped by its user and is started all the same")
        if self.state.phase is not SupervisorPhase.RUNNING:
            raise self.violation(f"{name} is started by a supervisor that is {self.state.phase}")
        for other in self.state.children[name].spec.depends_on:
            needed = self.processes.get(other)
            if needed is None or not needed.alive or not needed.ready:
                raise self.violation(f"{name} is started before {other} is ready")

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


# --- random worlds and schedules


def random_spec(rng: random.Random, name: str, earlier: list[str]) -> ChildSpec:
    depends_on = tuple(other for other in earlier if rng.random() < 0.25)
    backoff = rng.choice(
        [
            Backoff(0.0, 2.0, 0.0, 60.0, 0.0),
            Backoff(1.0, 2.0, 30.0, 60.0, 0.1),
            Backoff(0.5, 3.0, 4.0, 5.0, 0.0),
        ]
    )
    return ChildSpec(
        name,
        "test.actors.Child",
        restart=rng.choice(list(Restart)),
        shutdown=rng.choice([0.0, 5.0, float("inf")]),
        depends_on=depends_on,
        backoff=backoff,
        start_timeout=10.0,
        heartbeat=rng.choice([None, Heartbeat(5.0, 15.0), Heartbeat(5.0, 15.0, throughout=True)]),
        on_limit=rng.choice(list(OnLimit)),
        autostart=rng.random() < 0.85,
        keeper=rng.random() < 0.3,
    )


def random_world(rng: random.Random, strategy: Strategy | None = None) -> World:
    names = [f"c{index}" for index in range(rng.randint(1, 6))]
    specs = [random_spec(rng, name, names[:index]) for index, name in enumerate(names)]
    return World(
        new_state(
            "sup",
            specs,
            strategy=strategy or rng.choice(list(Strategy)),
            intensity=Intensity(rng.randint(0, 4), rng.choice([5.0, 60.0])),
            seed=rng.randint(0, 99),
        )
    )


def random_step(world: World, rng: random.Random) -> None:
    """One thing that happens."""
    living = [name for name, p in world.processes.items() if p.alive and name in world.state.children]
    known = list(world.state.children) or ["c0"]
    action = rng.randint(0, 99)
    if action < 30 and living:
        name = rng.choice(living)
        if world.processes[name].ready or rng.random() < 0.3:
            world.exit(name, rng.choice(ENDS))
        else:
            world.ready(name)
    elif action < 45:
        fresh = [n for n in living if not world.processes[n].ready and not world.processes[n].wedged]
        if fresh:
            world.ready(fresh[0])
    elif action < 55:
        world.next_timer()
    elif action < 62:
        world.advance(rng.choice([0.1, 1.0, 5.0, 30.0, 61.0]))
    elif action < 76:
        world.command(rng.choice([*known, "nobody"]), rng.choice(["start", "stop", "restart"]))
    elif action < 86:
        if living or world.processes:
            name = rng.choice([n for n in world.processes if n in world.state.children] or ["-"])
            if name != "-":
                world.stale(name, rng.choice(["ready", "exit", "phase", "pong", "timer", "beat"]))
    elif action < 90 and living:
        world.processes[rng.choice(living)].wedged = True
    elif action < 93:
        name = f"d{rng.randint(0, 3)}"
        world.add(random_spec(rng, name, known[:2] if world.state.children else []))
    elif action < 96:
        world.remove(rng.choice(known))
    elif action < 99:
        world.settle()
    elif rng.random() < 0.2:
        world.send(ev.Shutdown())


def run_schedule(rng: random.Random, steps: int = 60, strategy: Strategy | None = None) -> World:
    """A random world for some steps, then rest, then shutdown."""
    world = random_world(rng, strategy)
    world.start()
    for _ in range(steps):
        if world.ended is not None:
            break
        random_step(world, rng)
    world.settle()
    if world.ended is None:
        world.send(ev.Shutdown())
        world.settle()
    if world.ended is None:
        raise world.violation("shutdown does not end")
    return world


def run_group_check(rng: random.Random, strategy: Strategy) -> None:
    """From rest, one child ends: exactly those it takes along stop, last first, and start, first first.

    What must happen is worked out from the order of the children alone.
    """
    names = [f"c{index}" for index in range(rng.randint(2, 7))]
    specs = [
        ChildSpec(
            name,
            "test.actors.Child",
            restart=rng.choice([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY]),
            backoff=rng.choice([Backoff(0.0, 2.0, 0.0, 60.0, 0.0), Backoff(1.0, 2.0, 30.0, 60.0, 0.1)]),
            shutdown=rng.choice([0.0, 5.0]),
        )
        for name in names
    ]
    world = World(new_state("sup", specs, strategy=strategy, intensity=Intensity(100, 60.0)))
    world.start()
    world.settle()
    if world.spawned != names:
        raise world.violation(f"started as {world.spawned}, not {names}")
    for _ in range(3):
        running = [name for name in names if world.processes[name].alive]
        if not running:
            return
        victim = rng.choice(running)
        kind = rng.choice(["crash", "normal"])
        spec = world.state.children[victim].spec
        again = spec.restart is Restart.PERMANENT or (spec.restart is Restart.TRANSIENT and kind == "crash")
        at = names.index(victim)
        along = {
            Strategy.ONE_FOR_ONE: [victim],
            Strategy.DYNAMIC: [victim],
            Strategy.ONE_FOR_ALL: names,
            Strategy.REST_FOR_ONE: names[at:],
        }[strategy]
        stops = [name for name in reversed(along) if name != victim and name in running] if again else []
        by_name = {spec.id: spec for spec in specs}
        starts = [n for n in along if n == victim or by_name[n].restart is not Restart.TEMPORARY] if again else []
        world.spawned.clear()
        world.stopped.clear()
        world.exit(victim, kind)
        world.settle()
        if (world.stopped, world.spawned) != (stops, starts):
            raise world.violation(
                f"{victim} ended under {strategy}: stopped {world.stopped}, started {world.spawned}; "
                f"right would be {stops}, {starts}"
            )

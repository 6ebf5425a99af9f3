"""A world for `decide`: processes, timers, a clock and users, all simulated, with an oracle watching every step."""

from __future__ import annotations

import copy
import heapq

from supervision_oracle import Books, Oracle, Process

from nullbox.protocols.messages import ExitReason
from nullbox.supervision import events as ev
from nullbox.supervision.decide import decide
from nullbox.supervision.spec import ChildSpec
from nullbox.supervision.state import ChildState, State, SupervisorPhase


class World(Oracle):
    def __init__(self, state: State) -> None:
        super().__init__(state)
        self.timers: list[tuple[float, int, ev.TimerFired]] = []
        self.requests = 0
        self.spawned: list[str] = []
        self.stopped: list[str] = []

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
        owed = self.owed(name, process, "timeout" if process.condemned else kind)
        actions = self.send(ev.ChildExited(name, process.incarnation, ExitReason(kind, "", code)))
        if owed and ev.Spawn(name, process.incarnation + 1, finish=True) not in actions:
            raise self.violation(f"{name} died over a stop, and nobody finishes it")
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
            case ev.Spawn(name, incarnation, finish):
                if finish:
                    self.check_next(name, incarnation)
                    self.books[name].finishes += 1
                else:
                    self.check_spawn(name, incarnation)
                self.processes[name] = Process(incarnation, stop_asked=finish, finish=finish)
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

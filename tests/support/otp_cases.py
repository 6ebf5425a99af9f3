"""Random supervision trees and exits, and what `decide` makes of them, in the words of `otp_supervisor.erl`."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from nullbox.protocols.messages import ExitReason
from nullbox.supervision import events as ev
from nullbox.supervision.backoff import NO_BACKOFF
from nullbox.supervision.decide import decide
from nullbox.supervision.intensity import Intensity
from nullbox.supervision.spec import INFINITY, AutoShutdown, ChildSpec, ChildType, Restart, Strategy
from nullbox.supervision.state import State, SupervisorPhase, new_state

STRATEGIES = (Strategy.ONE_FOR_ONE, Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE)


@dataclass
class Worker:
    id: str
    restart: Restart
    significant: bool = False
    failing: tuple[int, ...] = ()

    def erlang(self) -> str:
        flag = "true" if self.significant else "false"
        return f"{{worker, {self.id}, {self.restart}, {flag}, {list(self.failing)}}}"


@dataclass
class Supervisor:
    id: str
    restart: Restart
    strategy: Strategy
    intensity: int
    auto_shutdown: AutoShutdown
    children: list[Worker | Supervisor] = field(default_factory=list)

    def flags(self) -> str:
        inner = ", ".join(child.erlang() for child in self.children)
        return f"{{{self.strategy}, {self.intensity}, {self.auto_shutdown}, [{inner}]}}"

    def erlang(self) -> str:
        return f"{{supervisor, {self.id}, {self.restart}, {self.flags()}}}"

    def workers(self) -> list[Worker]:
        found: list[Worker] = []
        for child in self.children:
            found += [child] if isinstance(child, Worker) else child.workers()
        return found


@dataclass
class Case:
    name: str
    top: Supervisor
    steps: list[tuple[str, ...]]

    def erlang(self) -> str:
        steps = ", ".join("{" + ", ".join(step) + "}" for step in self.steps)
        return f'{{"{self.name}", {self.top.flags()}, [{steps}]}}.'


def random_case(seed: int) -> Case:
    rng = random.Random(seed)
    top = random_supervisor(rng, "top", depth=0)
    workers = [worker.id for worker in top.workers()] or ["none"]
    steps: list[tuple[str, ...]] = []
    for _ in range(rng.randint(1, 10)):
        if rng.random() < 0.2 and top.strategy is Strategy.ONE_FOR_ONE:
            steps += random_command(rng, top)
        elif rng.random() < 0.2:
            steps.append(("kill", rng.choice(workers)))
        else:
            reason = rng.choice(["normal", "shutdown", "{shutdown, enough}", "crash", "crash", "crash"])
            steps.append(("exit", rng.choice(workers), reason))
    return Case(f"seed_{seed}", top, steps)


def random_supervisor(rng: random.Random, name: str, depth: int) -> Supervisor:
    supervisor = Supervisor(
        name,
        rng.choice(list(Restart)),
        rng.choice(STRATEGIES),
        rng.randint(0, 4),
        rng.choice([AutoShutdown.NEVER, *AutoShutdown]),
    )
    for index in range(rng.randint(1, 6 if depth == 0 else 3)):
        child = f"{name}_{index}"
        if depth < 2 and rng.random() < (0.2 if depth == 0 else 0.1):
            supervisor.children.append(random_supervisor(rng, child, depth + 1))
            continue
        restart = rng.choice([Restart.PERMANENT, *Restart])
        could = restart is not Restart.PERMANENT and supervisor.auto_shutdown is not AutoShutdown.NEVER
        # A start that fails while a supervisor itself starts is handled differently (docs/design/supervision.md).
        failing = tuple(n for n in range(2, 7) if rng.random() < 0.15) if depth == 0 else ()
        supervisor.children.append(Worker(child, restart, could and rng.random() < 0.5, failing))
    return supervisor


def random_command(rng: random.Random, top: Supervisor) -> list[tuple[str, ...]]:
    """What a user asks for, where OTP and NullBox mean the same by it."""
    able = [
        c.id for c in top.children if isinstance(c, Worker) and c.restart is not Restart.TEMPORARY and not c.failing
    ]
    if not able:
        return []
    child = rng.choice(able)
    return rng.choice([[("terminate", child)], [("restart", child)], [("terminate", child), ("delete", child)]])


class Simulation:
    """`decide` for every supervisor of a case; processes end and start at once."""

    def __init__(self, case: Case) -> None:
        self.case = case
        self.states: dict[str, State] = {}
        self.plans: dict[str, Supervisor] = {}
        self.parents: dict[str, str] = {}
        self.restarts: dict[str, Worker] = {}
        self.starts: dict[str, int] = {}
        self.alive: dict[str, int] = {}
        self.queues: dict[str, deque[ev.Event]] = {}
        self.running: set[str] = set()
        self.log: list[str] = []
        self.lines: list[str] = []
        self.request = 0

    def run(self) -> list[str]:
        """The lines that `otp_supervisor` would print."""
        top = self.case.top
        self.start_supervisor(top)
        self.report(0)
        for number, step in enumerate(self.case.steps, 1):
            if "top" not in self.states:
                break
            self.step(step)
            self.report(number)
        if "top" in self.states:
            self.send("top", ev.Shutdown())
            self.report("shutdown")
        return self.lines

    def start_supervisor(self, plan: Supervisor) -> None:
        specs = []
        for child in plan.children:
            self.parents[child.id] = plan.id
            if isinstance(child, Worker):
                self.restarts[child.id] = child
            else:
                self.plans[child.id] = child
            nested = isinstance(child, Supervisor)
            # OTP knows no ids beyond atoms; ours may not hold underscores.
            specs.append(
                ChildSpec(
                    child.id.replace("_", "-"),
                    "test.actors.Child",
                    restart=child.restart,
                    significant=False if isinstance(child, Supervisor) else child.significant,
                    type=ChildType.SUPERVISOR if nested else ChildType.WORKER,
                    shutdown=INFINITY,
                    backoff=NO_BACKOFF,
                    heartbeat=None,
                )
            )
        self.states[plan.id] = new_state(
            plan.id,
            specs,
            strategy=plan.strategy,
            intensity=Intensity(plan.intensity, 36000.0),
            auto_shutdown=plan.auto_shutdown,
        )
        self.queues[plan.id] = deque()
        self.send(plan.id, ev.StartSupervisor())

    def send(self, supervisor: str, event: ev.Event) -> None:
        """Let one supervisor deal with an event and all that follows from it."""
        queue = self.queues[supervisor]
        queue.append(event)
        if supervisor in self.running:
            return
        self.running.add(supervisor)
        state = self.states[supervisor]
        while queue:
            for action in decide(state, queue.popleft(), 0.0)[1]:
                self.perform(supervisor, action)
        self.running.discard(supervisor)
        if state.phase is SupervisorPhase.ENDED and self.states.get(supervisor) is state:
            # OTP's supervisors end with `shutdown`, whether they were stopped or gave up.
            del self.states[supervisor]
            if supervisor != "top":
                self.child_ends(supervisor, "shutdown")

    def perform(self, supervisor: str, action: ev.Action) -> None:
        queue = self.queues[supervisor]
        if isinstance(action, ev.Spawn):
            name = action.child.replace("-", "_")
            if name in self.plans:
                self.start_supervisor(self.plans[name])
                self.alive[name] = action.incarnation
                queue.append(ev.ChildReady(action.child, action.incarnation))
                return
            self.log.append(f" start:{name}")
            self.starts[name] = self.starts.get(name, 0) + 1
            if self.starts[name] in self.restarts[name].failing:
                queue.append(ev.ChildExited(action.child, action.incarnation, ExitReason("crash")))
            else:
                self.alive[name] = action.incarnation
                queue.append(ev.ChildReady(action.child, action.incarnation))
        elif isinstance(action, ev.SendStop):
            name = action.child.replace("-", "_")
            if name in self.plans:
                self.send(name, ev.Shutdown())
                return
            self.log.append(f" stop:{name}")
            del self.alive[name]
            queue.append(ev.ChildExited(action.child, action.incarnation, ExitReason("shutdown")))

    def child_ends(self, name: str, kind: str) -> None:
        incarnation = self.alive.pop(name)
        event = ev.ChildExited(name.replace("_", "-"), incarnation, ExitReason(kind))
        self.send(self.parents[name], event)

    def step(self, step: tuple[str, ...]) -> None:
        verb, name, *rest = step
        if verb in ("exit", "kill"):
            if name in self.alive:
                reason = rest[0] if rest else "kill"
                kinds = {"normal": "normal", "crash": "crash", "kill": "signal"}
                self.child_ends(name, kinds.get(reason, "shutdown"))
            return
        self.request += 1
        child = name.replace("_", "-")
        if verb == "delete":
            self.send("top", ev.RemoveChild(child, self.request))
        else:
            command = {"terminate": "stop", "restart": "start"}[verb]
            self.send("top", ev.UserCommand(child, command, self.request))

    def report(self, number: Any) -> None:
        lives = "".join(f" {name}" for name in sorted(self.alive) if name not in self.plans)
        word = "up" if "top" in self.states else "down"
        self.lines.append(f"{self.case.name} {number}{''.join(self.log)} | {word} |{lives}")
        self.log.clear()

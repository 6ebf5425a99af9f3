"""Fault after fault into a running system, from a seed, with a checker after each. The same seed, the same faults.

A step arms one fault, provokes it (somebody passes the armed point), waits until the system is healthy again, and
checks what must hold whatever happens:

safety    PID 1 lives; who was not hit keeps its process; every agent has exactly one VM, and the same one, unless the
          step asked for another; no packet left that no policy allows; every acknowledged write is there
liveness  healthy within `RECOVERY` seconds
hygiene   (`check_clean`) no zombie, TAP, rule, cgroup or descriptor more than before
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from nullbox.chaos.board import When
from nullbox.chaos.faults import RAISED, Fault
from nullbox.chaos.points import POINTS, Point
from nullbox.chaos.world import AGENTS, REST, SERVICES, World

RECOVERY = 3.0
"""Seconds from a fault to a healthy tree that are promised, backoff (here at most 0.2 s) aside. What does not end but
hangs is noticed only by its silence: for such faults the configured timeout comes on top."""
SILENCE = 3.0
GIVE_UP = 30.0
"""Seconds after which a system counts as lost. Between the two it is late: reported, and for the caller to judge."""
PROVOKE = 2.0
"""Seconds for one attempt to have somebody pass the armed point."""

SILENT = frozenset({Fault.SIGSTOP, Fault.HANG})
OFTEN = 40
"""Passes of a point after which some may be let go by without waiting for long."""

WHOLE_TREE = frozenset({"nulld", "launcher", "pid1"})
"""Owners whose end takes every actor with it (and no VM)."""


class Violation(AssertionError):
    """Something that must hold did not."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault. skip: passes of the point to let go by first."""

    point: Point
    when: When
    fault: Fault
    agent: str
    skip: int = 0

    @property
    def silent(self) -> bool:
        """Whether what is hit may go on living and answer nothing."""
        return self.fault in SILENT or ":Store." in self.point.target

    def __str__(self) -> str:
        skip = f" after {self.skip}" if self.skip else ""
        return f"{self.fault.name} {self.when.name.lower()} {self.point.name}{skip} ({self.agent})"


@dataclass(slots=True)
class Report:
    """What a campaign saw."""

    taken: Counter[str] = field(default_factory=Counter)
    unreached: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    recoveries: list[float] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    history: list[str] = field(default_factory=list)

    def percentile(self, share: float) -> float:
        ordered = sorted(self.recoveries) or [0.0]
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

    def summary(self) -> str:
        return (
            f"{sum(self.taken.values())} faults taken, {len(self.unreached)} not reached, {len(self.late)} late; "
            f"recovery p50 {self.percentile(0.5):.2f} s, p99 {self.percentile(0.99):.2f} s; seen {dict(self.seen)}"
        )


def random_steps(seed: int, count: int) -> Iterator[Step]:
    """The faults of a seed."""
    rng = random.Random(seed)  # noqa: S311 - replay, not secrecy
    for _ in range(count):
        point = rng.choice(POINTS)
        yield Step(
            point,
            rng.choice(list(When)),
            rng.choice(point.faults),
            rng.choice(AGENTS),
            rng.choice((0, 0, 0, 1, 3)),
        )


def all_steps() -> Iterator[Step]:
    """Every owner × fail point × fault once."""
    for index, point in enumerate(POINTS):
        for when in When:
            for fault in point.faults:
                yield Step(point, when, fault, AGENTS[index % len(AGENTS)])


class Campaign:
    """Steps into one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.report = Report()

    def run(self, step: Step) -> None:
        """One fault and all checks. Raises Violation; the history says what came before."""
        self.note(str(step))
        try:
            self._run(step)
        except AssertionError as error:
            history = "\n".join(self.report.history[-12:])
            raise Violation(f"{step}: {error}\nbefore:\n{history}") from error
        finally:
            self.world.board.disarm()

    def _run(self, step: Step) -> None:
        world = self.world
        actors, vms = world.actors(), world.vmms()
        assert set(vms) == set(AGENTS), f"not at rest before the step: {vms}"
        index = POINTS.index(step.point)
        often = world.board.passes(index, step.when) > OFTEN
        world.board.arm(index, step.when, step.fault, step.skip if often else 0)
        touched: set[str] = set()
        for provoke in self._provocations(step, touched):
            provoke()
            with contextlib.suppress(AssertionError):
                world.wait(world.board.taken, PROVOKE, "the fault")
            if world.board.taken():
                break
        taken = world.board.taken()
        victim = world.board.armed().taken_by if taken else 0
        world.board.disarm()
        began = time.monotonic()
        if victim and step.silent and step.fault in RAISED:
            # A thread may have died of it beside the actor's: then the actor's silence tells, if it does not recover.
            with contextlib.suppress(AssertionError):
                world.wait(lambda: victim not in world.pids(), SILENCE + 1.0, "what may happen")
        elif victim and step.fault not in RAISED:
            world.wait(lambda: victim not in world.pids(), GIVE_UP, f"the end of what {step} hit")
        world.wait(world.at_rest, GIVE_UP, f"recovery from {step}")
        took = max(0.0, time.monotonic() - began - REST)
        if taken:
            self.report.taken[step.point.name] += 1
            self.report.recoveries.append(took)
            if took > RECOVERY + (SILENCE if step.silent else 0.0):
                self.report.late.append(f"{step}: {took:.1f} s")
        else:
            self.report.unreached.append(str(step))
        self.note(f"    {'taken' if taken else 'not reached'}, healthy after {took:.2f} s, touched {sorted(touched)}")
        self._check(step, touched, actors, vms)

    # --- provoking

    def _provocations(self, step: Step, touched: set[str]) -> Iterator[Callable[[], None]]:
        """What makes the owner pass the point, the mildest first. `touched` gets what a provocation changes itself:
        ids of actors that it kills, agents whose VM it ends."""
        owner = f"cage:{step.agent}" if step.point.owner == "cage" else step.point.owner

        def restart_agent() -> None:
            touched.update((f"cage:{step.agent}", f"vm:{step.agent}"))
            self._ask("agent.restart", name=step.agent)

        def kill(name: str) -> None:
            touched.add(name)
            pid = self.world.actors().get(name)
            if pid is not None:
                os.kill(pid, signal.SIGKILL)

        def wait() -> None:
            """Heartbeats, writes and requests pass most points by themselves."""

        def kill_launcher() -> None:
            touched.add("launcher")
            for process in self.world.processes():
                if process.name == "launcher":
                    os.kill(process.pid, signal.SIGKILL)

        if owner in ("pid1", "launcher"):
            yield from (wait, kill_launcher)
        elif owner == "nulld":
            yield from (wait, lambda: kill("gateway"))
        else:
            if ".on_ping" in step.point.target or "Store." in step.point.target or "on_reply" in step.point.target:
                yield wait
            yield restart_agent
            yield lambda: kill(owner)

    def _ask(self, method: str, **params: object) -> None:
        """A request whose fate does not matter: what it hits may be about to die."""
        with contextlib.suppress(Exception):
            self.world.ask(method, 1.0, **params)

    # --- checking

    def _check(self, step: Step, touched: set[str], actors: dict[str, int], vms: dict[str, list[int]]) -> None:
        world = self.world
        hit = step.point.owner
        whole = hit in WHOLE_TREE or "launcher" in touched
        after = world.actors()
        for name, pid in actors.items():
            spared = (
                not whole
                and name not in touched
                and hit != name
                and not (hit == "cage" and name == f"cage:{step.agent}")
            )
            if hit == "cage" and name.startswith("cage:"):
                spared = False  # whichever cage passed the point first took the fault
            assert not spared or after.get(name) == pid, f"{name} was not hit and has another process"
            self.report.seen["actor replaced"] += after.get(name) != pid
        now = world.vmms()
        for agent, pids in now.items():
            assert len(pids) == 1, f"{agent} has {len(pids)} VMs"
            asked = f"vm:{agent}" in touched
            assert asked or pids == vms[agent], f"the VM of {agent} was lost: {vms[agent]} became {pids}"
            self.report.seen["vm adopted"] += pids == vms[agent] and after.get(f"cage:{agent}") != actors.get(
                f"cage:{agent}"
            )
            self.report.seen["vm replaced"] += pids != vms[agent]
        assert set(now) == set(AGENTS), f"VMs: {now}"
        assert not world.leaked(), f"packets left: {world.leaked()[:3]}"

    def check_writes(self) -> int:
        """Every acknowledged write is in the store. How many there were."""
        total = 0
        store = self.world.layout.ctx_store
        for agent in AGENTS:
            noted = self.world.acknowledged(agent)
            with contextlib.closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True)) as database:
                stored = {json.loads(value) for (value,) in database.execute(QUERY, (f"chaos.{agent}",))}
            missing = [value for value in noted if value not in stored]
            if missing:
                raise Violation(
                    f"{len(missing)} of {len(noted)} acknowledged writes of {agent} are lost: {missing[:3]}"
                )
            total += len(noted)
        return total

    def check_clean(self, before: Baseline) -> None:
        """With all agents stopped nothing is left that was not there with all agents stopped before."""
        after = Baseline.take(self.world)
        if after != before:
            raise Violation(f"something is left: before {before}, now {after}")

    def note(self, text: str) -> None:
        self.report.history.append(text)


QUERY = "SELECT objects.value FROM log JOIN objects ON log.object = objects.seq WHERE log.key = ?"


@dataclass(frozen=True, slots=True)
class Baseline:
    """What there is of everything that could be left behind, with no agent running."""

    zombies: int
    taps: tuple[str, ...]
    rules: int
    cgroups: tuple[str, ...]
    processes: tuple[str, ...]
    cages: tuple[str, ...]

    @classmethod
    def take(cls, world: World) -> Baseline:
        """Stop the agents, look, and start them again."""
        for agent in AGENTS:
            world.ask("agent.stop", 15.0, name=agent)
        world.wait(lambda: not world.vmms(), 5.0, "the VMs to end")
        world.wait(lambda: not world.taps(), 5.0, "the TAPs to go")
        found = list(world.processes())
        baseline = cls(
            sum(process.state == "Z" for process in found),
            tuple(world.taps()),
            world.rules(),
            tuple(world.cgroups()),
            tuple(sorted(process.name for process in found if process.state != "Z")),
            tuple(sorted(path.name for path in (world.layout.run / "nullbox" / "cages").glob("*"))),
        )
        for agent in AGENTS:
            world.ask("agent.start", 15.0, name=agent)
        world.wait(world.healthy, 20.0, "the agents to run again")
        return baseline


assert set(SERVICES) < {point.owner for point in POINTS}

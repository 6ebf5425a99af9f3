"""Schedule after schedule into a running system, with a checker after each.

A schedule arms its faults one after the other, provokes each (somebody passes the armed point), waits until the system
is at rest, and checks what must hold whatever happens:

safety    PID 1 lives; who was not hit keeps its process; every agent has exactly one VM, and the same one, unless the
          schedule asked for another; no packet left that no policy allows; every acknowledged write is there; no log
          holds a secret
liveness  healthy within `RECOVERY` seconds, configured delays aside; every VM reaches ctxgraph again
hygiene   with no agent running, nothing is left that was not there before (`invariants.Baseline`)
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

from nullbox.chaos.faults import RAISED
from nullbox.chaos.invariants import (
    Baseline,
    Hit,
    Snapshot,
    Violation,
    check_packets,
    check_secrets,
    check_writes,
    compare,
)
from nullbox.chaos.points import POINTS, Passed
from nullbox.chaos.report import Report
from nullbox.chaos.steps import AGENTS, Schedule, Step
from nullbox.chaos.world import READY_SILENCE, SILENCE, START_SILENCE, World

RECOVERY = 3.0
"""Seconds from the last fault to a healthy tree that are promised, configured delays aside: backoff, here at most
0.2 s, and the silence after which what does not end but hangs is given up."""
CLEAN_UP = 3.0
"""Seconds for what is stopped to be gone: who is stopped does not wait for what others clear away after it."""
GIVE_UP = 30.0
"""Seconds after which a system counts as lost. Between the two it is late: reported, and for the caller to judge."""
PROVOKE = 1.5
"""Seconds for one attempt to have somebody pass the armed point."""
FOLLOW = 0.6
"""The same for further faults of a schedule, which are meant to hit the recovery."""
OFTEN = 40
"""Passes of a point after which some may be let go by without waiting for long."""

WHOLE_TREE = frozenset({"nulld", "launcher"})
"""Owners whose end takes every actor with it (and no VM)."""


def silence(step: Step) -> float:
    """Seconds after which a fault is noticed by nothing but silence, as configured; 0 for those that end a process."""
    if not step.silent:
        return 0.0
    if step.point.passed is not Passed.START:
        return SILENCE
    return START_SILENCE if step.point.owner in (*WHOLE_TREE, "pid1") else READY_SILENCE


class Campaign:
    """Schedules into one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.report = Report()
        self.history: list[str] = []
        self._before = self._without_agents()
        self.world.start_agents()

    def run(self, schedule: Schedule) -> None:
        """One schedule and all checks. Raises Violation; it says what came before."""
        self.history.append(str(schedule))
        try:
            self._run(schedule)
        except AssertionError as error:
            history = "\n".join(self.history[-12:])
            raise Violation(f"{schedule}: {error}\nbefore:\n{history}\n{self.world.describe()}") from error
        finally:
            self.world.board.disarm()
        self.report.schedules += 1

    def finish(self) -> Report:
        """The checks of the end. Afterwards no agent runs. Raises Violation."""
        try:
            self.report.seen += self.world.events_seen()
            after = self._without_agents()
            self.report.writes += check_writes(self.world)
            until = time.monotonic() + CLEAN_UP
            while (left := self._before.differences(after)) and time.monotonic() < until:
                after = Baseline.take(self.world)
            if left:
                raise Violation("something is left: " + "; ".join(left))
        except AssertionError as error:
            raise Violation(f"{error}\nbefore:\n" + "\n".join(self.history[-12:])) from error
        return self.report

    def _without_agents(self) -> Baseline:
        self.world.write_as_operator()  # so that the gateway has its connection to the store, whenever one looks
        self.world.stop_agents()
        return Baseline.take(self.world)

    def _run(self, schedule: Schedule) -> None:
        world = self.world
        before = Snapshot.take(world)
        if set(before.vms) != set(AGENTS):
            raise Violation(f"not at rest before the schedule: {before.vms}")
        world.write_as_operator()
        hit, victims = Hit(), set[int]()
        began, taken, allowed = time.monotonic(), 0, RECOVERY
        for number, step in enumerate(schedule.steps):
            at = self._inject(step, hit, before, victims, PROVOKE if number == 0 else FOLLOW)
            if at is None:
                self.report.unreached.append(str(step))
                continue
            began, taken = at, taken + 1
            self.report.taken[f"{step.fault.name} {step.when.name.lower()} {step.point.name}"] += 1
            allowed += silence(step)
        for victim in victims:
            world.wait(partial(world.ended, victim), GIVE_UP, f"the end of process {victim}")
        took = max(0.0, world.settle(GIVE_UP) - began)
        self.history.append(f"    {taken} taken, healthy after {took:.2f} s, touched {sorted(hit.names)}")
        if taken:
            self.report.recoveries.append(took)
            self.report.beyond.append(max(0.0, took - (allowed - RECOVERY)))
            self.report.seen["several faults"] += taken > 1
            if took > allowed:
                self.report.late.append(f"{schedule}: {took:.1f} s, promised {allowed:.1f} s")
        compare(before, Snapshot.take(world), hit, self.report.seen)
        check_packets(world)
        check_secrets(world.logs(), world.secret)
        written = {agent: len(world.acknowledged(agent)) for agent in AGENTS}
        world.wait(
            lambda: all(len(world.acknowledged(agent)) > written[agent] for agent in AGENTS),
            RECOVERY,
            "ctxgraph to acknowledge writes of every VM",
        )

    def _inject(self, step: Step, hit: Hit, before: Snapshot, victims: set[int], patience: float) -> float | None:
        """Arm and provoke. When it was taken (monotonic seconds); None: it was not."""
        board = self.world.board
        index = POINTS.index(step.point)
        often = board.passes(index, step.when) > OFTEN
        board.arm(index, step.when, step.fault, step.skip if often and step.point.passed is Passed.ALWAYS else 0)
        for provoke in self._provocations(step, hit):
            with contextlib.ExitStack() as until_taken:
                provoke(until_taken)
                with contextlib.suppress(AssertionError):
                    self.world.wait(board.taken, patience, "the fault")
            if board.taken():
                break
        board.disarm()
        if not board.taken():
            return None
        armed = board.armed()
        owner = step.point.owner
        name = before.name_of(armed.taken_by) if owner == "cage" else owner
        hit.names.add(name or owner)
        hit.whole |= owner in WHOLE_TREE
        if step.fault not in RAISED and (outside := self.world.pids().get(armed.taken_by)) is not None:
            victims.add(outside)
        return armed.taken_at

    # --- provoking

    def _provocations(self, step: Step, hit: Hit) -> Iterator[Callable[[contextlib.ExitStack], object]]:
        """What makes the owner pass the point, the mildest that does first; `hit` gets what each changes itself."""
        owner = f"cage:{step.agent}" if step.point.owner == "cage" else step.point.owner

        def restart_agent(until: contextlib.ExitStack) -> None:
            hit.names.add(f"cage:{step.agent}")
            hit.asked.add(step.agent)
            with contextlib.suppress(OSError):  # nobody answers: then something recovers, and passes points by itself
                until.enter_context(self.world.send("agent.restart", name=step.agent))

        def kill(name: str) -> Callable[[contextlib.ExitStack], None]:
            def now(_: contextlib.ExitStack) -> None:
                if (pid := self.world.actors().get(name)) is not None:
                    hit.names.add(name)
                    hit.whole |= name in WHOLE_TREE
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

            return now

        def kill_launcher(_: contextlib.ExitStack) -> None:
            hit.whole = True
            for process in self.world.processes():
                if process.name == "launcher":
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process.pid, signal.SIGKILL)

        def wait(until: contextlib.ExitStack) -> None:
            with contextlib.suppress(OSError):
                until.enter_context(self.world.send("tree"))

        death = kill("gateway" if owner != "gateway" else "ctxgraph")
        ways = {
            Passed.ALWAYS: wait,
            Passed.RESTART: restart_agent,
            Passed.START: kill_launcher if owner in ("pid1", "launcher") else kill(owner),
            Passed.DEATH: death,
        }
        first = ways.pop(step.point.passed)
        yield first
        if step.point.passed is not Passed.START:
            yield ways[Passed.START]

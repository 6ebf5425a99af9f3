"""`decide` against a simulated world, under random schedules: Hypothesis draws them, and so do fixed seeds."""

from __future__ import annotations

import copy
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sizes import sized
from supervision_schedules import ENDS, random_spec, random_world, run_group_check, run_schedule
from supervision_world import World

from nullbox.protocols.messages import ExitReason
from nullbox.supervision import events as ev
from nullbox.supervision.decide import decide
from nullbox.supervision.spec import Strategy

SEEDS = int(os.environ.get("NULLBOX_CRASH_RUNS") or sized(600))


@settings(max_examples=sized(150), suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(rng=st.randoms(use_true_random=False))
def test_no_schedule_breaks_a_rule(rng: random.Random) -> None:
    run_schedule(rng, steps=30)


@pytest.mark.parametrize("strategy", list(Strategy))
def test_seeded_schedules(strategy: Strategy) -> None:
    base = int(os.environ.get("NULLBOX_CRASH_SEED") or 0)
    print(f"SEED={base}, {SEEDS // 4} schedules of 80 steps")
    for seed in range(base, base + SEEDS // 4):
        try:
            run_schedule(random.Random(seed), steps=80, strategy=strategy)
        except Exception:
            print(f"fails with SEED={seed}")
            raise


@pytest.mark.parametrize("strategy", list(Strategy))
def test_who_goes_along_and_in_what_order(strategy: Strategy) -> None:
    for seed in range(sized(300)):
        print(f"seed {seed}")
        run_group_check(random.Random(seed), strategy)


def test_equal_states_given_equal_events_stay_equal_and_ask_for_the_same() -> None:
    for seed in range(60):
        rng = random.Random(seed)
        world = random_world(rng)
        twin = copy.deepcopy(world.state)
        log: list[tuple[float, ev.Event, list[ev.Action]]] = []
        original_send = world.send

        def send(event: ev.Event, world: World = world, log: list = log, send=original_send) -> list[ev.Action]:  # type: ignore[no-untyped-def, type-arg]
            entry = (world.now, event, [])
            log.append(entry)
            entry[2].extend(actions := send(event))
            return actions

        world.send = send  # type: ignore[method-assign]
        world.start()
        for name in list(world.processes):
            if world.processes[name].alive:
                world.ready(name)
        for name in list(world.processes):
            if name in world.processes and world.processes[name].alive:
                world.exit(name, "crash")
        for now, event, actions in sorted(log, key=lambda entry: entry[0]):
            assert decide(twin, event, now)[1] == actions
        assert twin == world.state


class SupervisedTree(RuleBasedStateMachine):
    """The same world, driven rule by rule, so that Hypothesis can shrink what it finds to a few steps."""

    @initialize(rng=st.randoms(use_true_random=False))
    def begin(self, rng: random.Random) -> None:
        self.world = random_world(rng)
        self.world.start()

    def pick(self, index: int, ready: bool | None = None) -> str | None:
        names = [
            name
            for name, process in self.world.processes.items()
            if process.alive and name in self.world.state.children and (ready is None or process.ready == ready)
        ]
        return names[index % len(names)] if names else None

    def going(self) -> bool:
        return self.world.ended is None

    @precondition(going)
    @rule(index=st.integers(0, 9))
    def becomes_ready(self, index: int) -> None:
        name = self.pick(index, ready=False)
        if name is not None:
            self.world.ready(name)

    @precondition(going)
    @rule(index=st.integers(0, 9), kind=st.sampled_from(ENDS))
    def ends(self, index: int, kind: str) -> None:
        name = self.pick(index)
        if name is not None:
            self.world.exit(name, kind)

    @precondition(going)
    @rule(index=st.integers(0, 9), what=st.sampled_from(["ready", "exit", "phase", "pong", "timer", "beat"]))
    def late_news(self, index: int, what: str) -> None:
        name = self.pick(index)
        if name is not None:
            self.world.stale(name, what)

    @precondition(going)
    @rule()
    def timer(self) -> None:
        self.world.next_timer()

    @precondition(going)
    @rule(seconds=st.sampled_from([0.01, 1.0, 16.0, 61.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @precondition(going)
    @rule(index=st.integers(0, 9), verb=st.sampled_from(["start", "stop", "restart"]))
    def user(self, index: int, verb: str) -> None:
        names = [*self.world.state.children, "nobody"]
        self.world.command(names[index % len(names)], verb)

    @precondition(going)
    @rule(rng=st.randoms(use_true_random=False), index=st.integers(0, 3))
    def add(self, rng: random.Random, index: int) -> None:
        self.world.add(random_spec(rng, f"d{index}", list(self.world.state.children)[:2]))

    @precondition(going)
    @rule(index=st.integers(0, 9))
    def remove(self, index: int) -> None:
        names = [*self.world.state.children, "nobody"]
        self.world.remove(names[index % len(names)])

    @precondition(going)
    @rule(index=st.integers(0, 9))
    def hangs(self, index: int) -> None:
        name = self.pick(index)
        if name is not None:
            self.world.processes[name].wedged = True

    @precondition(going)
    @rule()
    def shutdown(self) -> None:
        self.world.send(ev.Shutdown())

    @precondition(lambda self: not self.going())
    @rule(index=st.integers(0, 9))
    def nothing_follows_the_end(self, index: int) -> None:
        names = [*self.world.state.children, "nobody"]
        name = names[index % len(names)]
        late: list[ev.Event] = [
            ev.StartSupervisor(),
            ev.Shutdown(),
            ev.ChildReady(name, 1),
            ev.ChildExited(name, 1, ExitReason("crash")),
            ev.TimerFired(name, ev.TimerKind.BACKOFF, 1),
        ]
        for event in late:
            assert decide(self.world.state, event, self.world.now)[1] == []

    @invariant()
    def books_agree(self) -> None:
        if hasattr(self, "world"):
            self.world.check_always()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.settle()


TestSupervisedTree = SupervisedTree.TestCase
TestSupervisedTree.settings = settings(max_examples=sized(60), stateful_step_count=30)

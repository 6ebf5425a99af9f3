"""The tests of the supervisor, tested: each of these faults in the core must be caught by the seeded schedules.

A mutant replaces one function of the core by a broken one. The original code passes the same schedules.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sizes import sized
from supervision_oracle import Violation
from supervision_schedules import run_group_check, run_schedule

from nullbox.supervision import commands, decide, exits, groups, intensity, lifecycle, shutdown
from nullbox.supervision.events import TimerKind
from nullbox.supervision.intensity import Intensity, Window
from nullbox.supervision.spec import OnLimit, Restart, Strategy
from nullbox.supervision.state import ChildState

SCHEDULES = 250
"""Seeds tried per mutant; the originals pass all of them."""


def off_by_one_intensity(patch: pytest.MonkeyPatch) -> None:
    original = Window.add
    patch.setattr(
        Window, "add", lambda self, now, limit: original(self, now, Intensity(limit.max_restarts + 1, limit.period))
    )


def backoff_hides_the_limit(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Window, "imposed", lambda self, seconds: None)


def window_never_forgets(patch: pytest.MonkeyPatch) -> None:
    def add(self: Window, now: float, limit: Intensity) -> bool:
        self.entries.append((now, 0.0))
        return len(self.entries) <= limit.max_restarts

    patch.setattr(Window, "add", add)


def rest_for_one_spares_the_rest(patch: pytest.MonkeyPatch) -> None:
    def affected(strategy: Strategy, order: list[str], child: str) -> list[str]:
        if strategy is Strategy.REST_FOR_ONE:
            return order[: order.index(child) + 1]
        return groups_affected(strategy, order, child)

    groups_affected = groups.affected
    patch.setattr(groups, "affected", affected)


def group_stops_in_start_order(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(groups, "reversed", lambda members: iter(members), raising=False)


def lost_fencing(patch: pytest.MonkeyPatch) -> None:
    def current(state: Any, name: str, incarnation: int) -> Any:
        child = state.children.get(name)
        return child if child is not None and child.alive else None

    patch.setattr(decide, "current", current)


def timers_never_grow_old(patch: pytest.MonkeyPatch) -> None:
    def on_timer(state: Any, event: Any, now: float, out: list[Any]) -> None:
        child = state.children.get(event.child)
        if child is not None and event.kind is TimerKind.BACKOFF and child.state is ChildState.BACKOFF:
            event = event._replace(epoch=child.timer_epoch)
        original(state, event, now, out)

    original = decide.on_timer
    patch.setattr(decide, "HANDLERS", {**decide.HANDLERS, decide.TimerFired: on_timer})


def transient_is_always_restarted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exits, "ORDERLY", frozenset())


def keeper_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exits, "UNANNOUNCED", frozenset())


def a_stop_is_left_unfinished(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exits, "unfinished", lambda state, child: False)


def turns_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "take_turn", lambda state, child: True)


def a_turn_is_never_given_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "give_turn_back", lambda state, child: None)


def temporary_is_restarted_when_it_fails(patch: pytest.MonkeyPatch) -> None:
    original = exits.restarts
    patch.setattr(
        exits,
        "restarts",
        lambda spec, reason: original(spec, reason) or (spec.restart is Restart.TEMPORARY and reason.kind == "failed"),
    )


def a_cage_takes_the_tree_with_it(patch: pytest.MonkeyPatch) -> None:
    def past_limit(state: Any, child: Any, now: float, out: list[Any]) -> None:
        lifecycle.enter(child, ChildState.FAILED, now, out)
        shutdown.begin_shutdown(state, "limit", now, out)

    patch.setattr(exits, "past_limit", past_limit)


def a_service_fails_alone(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        exits, "past_limit", lambda state, child, now, out: lifecycle.enter(child, ChildState.FAILED, now, out)
    )


def dependencies_are_ignored(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "missing_dependencies", lambda state, child: [])


def shutdown_ignores_dependents(patch: pytest.MonkeyPatch) -> None:
    def stop_if_free(state: Any, child: Any, now: float, out: list[Any]) -> None:
        if child.alive and child.state is not ChildState.STOPPING:
            shutdown.ask(state, child, now, out)

    patch.setattr(shutdown, "stop_if_free", stop_if_free)


def a_stop_forgets_the_backoff_timer(patch: pytest.MonkeyPatch) -> None:
    def stop(state: Any, child: Any, request: int, now: float, out: list[Any]) -> None:
        epoch, alive = child.timer_epoch, child.alive
        original(state, child, request, now, out)
        if not alive:
            child.timer_epoch = epoch

    original = commands.stop
    patch.setattr(commands, "stop", stop)


def a_stop_during_a_restart_loses(patch: pytest.MonkeyPatch) -> None:
    def stop(state: Any, child: Any, request: int, now: float, out: list[Any]) -> None:
        intent = child.intent
        original(state, child, request, now, out)
        if intent is not None and child.alive:
            child.intent = intent

    original = commands.stop
    patch.setattr(commands, "stop", stop)


def the_deaf_are_never_killed(patch: pytest.MonkeyPatch) -> None:
    def on_timer(state: Any, event: Any, now: float, out: list[Any]) -> None:
        if event.kind is not TimerKind.SHUTDOWN:
            original(state, event, now, out)

    original = decide.on_timer
    patch.setattr(decide, "HANDLERS", {**decide.HANDLERS, decide.TimerFired: on_timer})


def backoff_never_grows(patch: pytest.MonkeyPatch) -> None:
    original = exits.delay
    patch.setattr(exits, "delay", lambda policy, attempt, chance: original(policy, 0, chance))


def backoff_is_never_reset(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exits, "was_stable", lambda policy, ready_for: False)


def questions_are_lost_with_a_dependency(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(exits, "start_over", lambda *rest: None)


def the_wedged_are_not_noticed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(lifecycle, "watch", lambda *rest: None)


def own_limit_counts_for_all(patch: pytest.MonkeyPatch) -> None:
    original = exits.ended_by_itself

    def ended_by_itself(state: Any, child: Any, *rest: Any) -> None:
        if child.spec.on_limit is OnLimit.FAIL:
            state.window.add(rest[1], state.intensity)
        original(state, child, *rest)

    patch.setattr(exits, "ended_by_itself", ended_by_itself)


Mutant = Callable[[pytest.MonkeyPatch], None]

MUTANTS: list[Mutant] = [
    off_by_one_intensity,
    backoff_hides_the_limit,
    window_never_forgets,
    rest_for_one_spares_the_rest,
    group_stops_in_start_order,
    lost_fencing,
    timers_never_grow_old,
    transient_is_always_restarted,
    keeper_is_forgotten,
    a_stop_is_left_unfinished,
    turns_are_ignored,
    a_turn_is_never_given_back,
    temporary_is_restarted_when_it_fails,
    a_cage_takes_the_tree_with_it,
    a_service_fails_alone,
    dependencies_are_ignored,
    shutdown_ignores_dependents,
    a_stop_forgets_the_backoff_timer,
    a_stop_during_a_restart_loses,
    the_deaf_are_never_killed,
    backoff_never_grows,
    backoff_is_never_reset,
    questions_are_lost_with_a_dependency,
    the_wedged_are_not_noticed,
    own_limit_counts_for_all,
]


def campaign(schedules: int = SCHEDULES) -> Iterator[tuple[str, Callable[[], object]]]:
    for seed in range(schedules):
        yield f"schedule {seed}", lambda seed=seed: run_schedule(random.Random(seed))
        yield (
            f"group {seed}",
            lambda seed=seed: run_group_check(random.Random(seed), random.Random(seed).choice(list(Strategy))),
        )


def test_the_original_passes() -> None:
    for _, run in campaign(sized(SCHEDULES)):
        run()


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__)
def test_a_mutant_is_caught(mutant: Mutant, monkeypatch: pytest.MonkeyPatch) -> None:
    assert intensity.Window is Window
    mutant(monkeypatch)
    for name, run in campaign():
        try:
            run()
        except (Violation, AssertionError, KeyError, ValueError) as caught:
            print(f"caught by {name}: {str(caught).splitlines()[0]}")
            return
    pytest.fail(f"{SCHEDULES} schedules did not notice {mutant.__name__}")

"""The life of one VM: the table is total, and its promises hold on every path."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage.machine import TABLE, Action, Event, Machine, State, Times, adopted, late, started, step

TIMES = Times(start=60, freeze=1, grace=5)


def follow(machine: Machine, *events: Event, now: float = 0.0) -> tuple[Machine, list[Action]]:
    done: list[Action] = []
    for event in events:
        machine, actions = step(machine, event, now)
        done += actions
    return machine, done


def test_every_pair_of_state_and_event_is_in_the_table() -> None:
    assert set(TABLE) == set(itertools.product(State, Event))


def test_a_vm_runs_once_its_launcher_says_hello() -> None:
    machine, actions = follow(started(10.0, TIMES), Event.HELLO)
    assert (machine.state, machine.deadline, actions) == (State.RUNNING, None, [Action.REPORT])


def test_a_vm_that_never_says_hello_is_killed() -> None:
    machine = started(10.0, TIMES)
    assert not late(machine, 69.9)
    assert late(machine, 70.0)
    machine, actions = step(machine, Event.LATE, 70.0)
    assert machine.state is State.STOPPING
    assert Action.KILL in actions


def test_pause_is_done_only_when_the_kernel_confirms() -> None:
    machine, _ = follow(started(0, TIMES), Event.HELLO)
    machine, actions = follow(machine, Event.PAUSE)
    assert (machine.state, actions) == (State.PAUSING, [Action.FREEZE])
    machine, actions = follow(machine, Event.FROZEN)
    assert (machine.state, actions) == (State.PAUSED, [Action.DONE, Action.REPORT])
    machine, actions = follow(machine, Event.RESUME)
    assert (machine.state, actions) == (State.RESUMING, [Action.THAW])
    machine, actions = follow(machine, Event.THAWED)
    assert (machine.state, actions) == (State.RUNNING, [Action.DONE, Action.REPORT])


def test_an_unconfirmed_pause_is_undone_and_answered() -> None:
    machine, _ = follow(started(0, TIMES), Event.HELLO, Event.PAUSE)
    machine, actions = step(machine, Event.LATE, 1.0)
    assert (machine.state, actions) == (State.RUNNING, (Action.THAW, Action.FAIL))


def test_a_stop_waits_five_seconds_and_then_kills_again_and_again() -> None:
    machine, _ = follow(started(0, TIMES), Event.HELLO)
    machine, actions = step(machine, Event.STOP, 100.0)
    assert actions == (Action.TERMINATE, Action.REPORT)
    assert machine.deadline == 105.0
    machine, actions = step(machine, Event.LATE, 105.0)
    assert (actions, machine.deadline) == ((Action.KILL,), 110.0)
    machine, actions = step(machine, Event.LATE, 110.0)
    assert (actions, machine.deadline) == ((Action.KILL,), 115.0)
    machine, actions = step(machine, Event.ENDED, 110.1)
    assert (machine.state, actions) == (State.EXITED, (Action.REPORT, Action.EXIT))


def test_a_second_stop_does_not_prolong_the_grace() -> None:
    machine, _ = follow(started(0, TIMES), Event.HELLO)
    machine, _ = step(machine, Event.STOP, 100.0)
    machine, actions = step(machine, Event.STOP, 104.0)
    assert (actions, machine.deadline) == ((), 105.0)


@pytest.mark.parametrize(
    "events", [(Event.PAUSE,), (Event.PAUSE, Event.FROZEN), (Event.PAUSE, Event.FROZEN, Event.RESUME)]
)
def test_a_stop_while_paused_thaws_before_it_terminates(events: tuple[Event, ...]) -> None:
    machine, _ = follow(started(0, TIMES), Event.HELLO, *events)
    machine, actions = follow(machine, Event.STOP)
    assert machine.state is State.STOPPING
    assert actions.index(Action.THAW) < actions.index(Action.TERMINATE)


def test_a_stop_while_starting_kills() -> None:
    machine, actions = follow(started(0, TIMES), Event.STOP)
    assert (machine.state, actions[0]) == (State.STOPPING, Action.KILL)


def test_a_crash_while_starting_is_an_exit() -> None:
    machine, actions = follow(started(0, TIMES), Event.ENDED)
    assert (machine.state, actions) == (State.EXITED, [Action.REPORT, Action.EXIT])


@pytest.mark.parametrize("event", [Event.PAUSE, Event.RESUME])
@pytest.mark.parametrize("state", [State.STARTING, State.STOPPING, State.EXITED])
def test_commands_in_the_wrong_state_are_refused(state: State, event: Event) -> None:
    assert TABLE[state, event] == (state, (Action.REFUSE,))


def test_an_adopted_vm_is_what_the_kernel_says() -> None:
    assert adopted(frozen=True, now=0).state is State.PAUSED
    assert adopted(frozen=False, now=0).state is State.STARTING


def test_every_command_is_answered_once_and_every_life_ends_once() -> None:
    """On all paths: at most one command is under way, and nothing follows the exit."""

    @given(st.lists(st.sampled_from(Event), max_size=40))
    def check(events: list[Event]) -> None:
        machine = started(0.0, TIMES)
        waiting = False
        exits = 0
        for number, event in enumerate(events):
            before = machine
            machine, actions = step(machine, event, float(number))
            answers = [action for action in actions if action in (Action.DONE, Action.FAIL)]
            if event in (Event.PAUSE, Event.RESUME):
                accepted = Action.REFUSE not in actions
                assert not (accepted and waiting), "a second command was accepted while one is under way"
                waiting = waiting or accepted
            assert len(answers) <= 1
            if answers:
                assert waiting, "an answer that nobody waits for"
                waiting = False
            exits += actions.count(Action.EXIT)
            if before.state is State.EXITED:
                assert machine.state is State.EXITED
                assert actions in ((), (Action.REFUSE,))
            assert waiting == (machine.state in (State.PAUSING, State.RESUMING))
        assert exits == (machine.state is State.EXITED)

    check()


@given(st.sampled_from(State), st.sampled_from(Event))
def test_what_changes_is_reported(state: State, event: Event) -> None:
    """The supervisor hears of every change that people see."""
    after, actions = TABLE[state, event]
    hidden = {State.PAUSING: State.RUNNING, State.RESUMING: State.PAUSED}
    if hidden.get(state, state) is not hidden.get(after, after):
        assert Action.REPORT in actions

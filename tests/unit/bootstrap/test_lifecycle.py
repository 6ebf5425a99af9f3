"""PID 1's decisions, each as a clause; then all sequences of events that Hypothesis can think of."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.lifecycle import (
    MAX_RESTARTS,
    PERIOD,
    STOP_TIMEOUT,
    Action,
    Boot,
    End,
    Event,
    Exited,
    Heartbeat,
    Hold,
    Kill,
    Mode,
    Power,
    Say,
    Spawn,
    Spawned,
    SpawnFailed,
    State,
    Terminate,
    Tick,
    decide,
)

OPTIONS = Cmdline()


def play(*steps: tuple[float, Event], options: Cmdline = OPTIONS) -> tuple[State, list[Action]]:
    state, done = State(), []
    for now, event in steps:
        decision = decide(state, event, now, options)
        state = decision.state
        done += [a for a in decision.actions if not isinstance(a, Say)]
    return state, done


UP = ((0.0, Boot()), (0.1, Spawned(50)), (3.0, Heartbeat()))


def test_boot_starts_the_actor_system() -> None:
    state, done = play(*UP)
    assert done == [Spawn()]
    assert state.mode is Mode.UP


def test_a_death_is_followed_by_a_start_after_a_growing_delay() -> None:
    state, done = play(*UP, (10.0, Exited(50, "exited with 1")))
    assert state.mode is Mode.WAITING
    assert state.deadline == 11.0
    state, done = play(*UP, (10.0, Exited(50, "x")), (11.0, Tick()), (11.1, Spawned(51)), (11.5, Exited(51, "x")))
    assert done == [Spawn(), Spawn()]
    assert state.deadline == 13.5


def test_silence_is_a_death() -> None:
    _, done = play(*UP, (3.0 + OPTIONS.heartbeat_timeout, Tick()))
    assert done == [Spawn(), Kill(50, "it gave no sign of life")]


def test_a_sign_of_life_puts_the_deadline_off() -> None:
    _, done = play(*UP, (30.0, Heartbeat()), (33.0, Tick()))
    assert done == [Spawn()]


def test_health_is_what_the_tree_said_last_and_ends_with_it() -> None:
    assert play(*UP)[0].healthy
    assert not play(*UP, (4.0, Heartbeat(healthy=False)))[0].healthy
    assert play(*UP, (4.0, Heartbeat(healthy=False)), (5.0, Heartbeat()))[0].healthy
    assert not play(*UP, (4.0, Exited(50, "x")))[0].healthy


def test_a_start_that_takes_too_long_is_killed() -> None:
    _, done = play((0.0, Boot()), (0.0, Spawned(50)), (OPTIONS.start_timeout, Tick()))
    assert done == [Spawn(), Kill(50, "it did not come up in time")]


def dying(times: int) -> list[tuple[float, Event]]:
    steps: list[tuple[float, Event]] = [(0.0, Boot())]
    now = 0.0
    for n in range(times):
        steps += [(now, Spawned(100 + n)), (now, Exited(100 + n, "exited with 70")), (now + 16.0, Tick())]
        now += 0.5
    return steps


def test_past_the_limit_the_machine_holds_and_says_why() -> None:
    state, done = play(*dying(MAX_RESTARTS))
    assert state.mode is Mode.STARTING
    state, done = play(*dying(MAX_RESTARTS + 1))
    assert state.mode is Mode.HOLDING
    assert done[-1] == Hold(
        f"the actor system ended {MAX_RESTARTS + 1} times within {PERIOD:.0f} s, the last time: exited with 70"
    )


def test_a_system_that_gives_up_slowly_each_time_ends_in_the_hold_too() -> None:
    """A service that cannot be started costs the actor system about half a minute before it gives up. With a period
    of one minute that was never too often, and the machine started over for ever."""
    steps: list[tuple[float, Event]] = [(0.0, Boot())]
    now = 0.0
    for n in range(MAX_RESTARTS + 1):
        steps += [(now, Spawned(100 + n)), (now + 5, Heartbeat()), (now + 40, Exited(100 + n, "exited with 70"))]
        now += 40 + 30
        steps.append((now, Tick()))
    _, done = play(*steps)
    assert isinstance(done[-1], Hold)


def test_past_the_limit_the_machine_reboots_when_it_is_told_to() -> None:
    _, done = play(*dying(MAX_RESTARTS + 1), options=Cmdline(on_failure="reboot"))
    assert done[-1] == End("reboot")


def test_a_start_that_fails_counts_like_a_death() -> None:
    state, _ = play((0.0, Boot()), (0.0, SpawnFailed("no such file")))
    assert state.mode is Mode.WAITING


def test_power_off_asks_first_waits_and_kills_what_does_not_stop() -> None:
    _, done = play(*UP, (5.0, Power("off")))
    assert done == [Spawn(), Terminate(50)]
    _, done = play(*UP, (5.0, Power("off")), (6.0, Exited(50, "exited with 0")))
    assert done[-1] == End("off")
    _, done = play(*UP, (5.0, Power("off")), (5.0 + STOP_TIMEOUT, Tick()), (36.0, Exited(50, "killed by SIGKILL")))
    assert done[1:] == [Terminate(50), Kill(50, "it did not stop in time"), End("off")]


def test_a_power_request_outranks_a_pending_restart_and_the_hold() -> None:
    _, done = play(*UP, (5.0, Exited(50, "x")), (5.1, Power("reboot")))
    assert done[-1] == End("reboot")
    _, done = play(*dying(MAX_RESTARTS + 1), (99.0, Power("off")))
    assert done[-1] == End("off")


def test_what_was_spawned_while_power_went_off_is_ended_too() -> None:
    state, done = play(*UP, (4.0, Power("off")), (4.1, Spawned(51)))
    assert Terminate(51) in done
    assert state.pid == 51


def test_a_strangers_exit_changes_nothing() -> None:
    assert play(*UP, (5.0, Exited(49, "x"))) == play(*UP)


EVENTS = st.one_of(
    st.builds(Boot),
    st.builds(Spawned, st.integers(2, 4)),
    st.builds(SpawnFailed, st.just("no")),
    st.builds(Heartbeat, st.booleans()),
    st.builds(Exited, st.integers(2, 4), st.just("x")),
    st.builds(Power, st.sampled_from(["off", "reboot", "sideways"])),
    st.builds(Tick),
)


@given(st.lists(st.tuples(st.floats(0, 40), EVENTS), max_size=60))
def test_every_sequence_of_events_is_answered(gaps: list[tuple[float, Event]]) -> None:
    """Total over state × event; exactly one end; nothing after it; never waiting for a start without a deadline."""
    now, state, ended = 0.0, State(), 0
    for gap, event in gaps:
        now += gap
        decision = decide(state, event, now, OPTIONS)
        if state.mode is Mode.DONE:
            assert decision.actions == ()
        ended += sum(isinstance(a, End) for a in decision.actions)
        booted = state != State()
        state = decision.state
        if state.mode is Mode.WAITING and booted and state.deaths:
            assert state.deadline is not None
    assert ended == (state.mode is Mode.DONE)

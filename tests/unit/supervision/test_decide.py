"""Clauses of the supervisor's contract, one test each. What they mean together is tried in tests/model."""

from __future__ import annotations

from typing import Any

import pytest
from supervision_core import Core, events_per_second

from nullbox.protocols.errors import ErrorCode
from nullbox.protocols.messages import ExitReason
from nullbox.supervision import events as ev
from nullbox.supervision.backoff import NO_BACKOFF, Backoff
from nullbox.supervision.decide import HANDLERS
from nullbox.supervision.events import TimerKind
from nullbox.supervision.intensity import Intensity
from nullbox.supervision.snapshot import healthy, tree
from nullbox.supervision.spec import AutoShutdown, ChildSpec, Heartbeat, OnLimit, Restart, Strategy

CRASH = ExitReason("crash", "RuntimeError: x")


def spec(name: str, **options: Any) -> ChildSpec:
    options.setdefault("backoff", NO_BACKOFF)
    options.setdefault("heartbeat", None)
    return ChildSpec(name, "a.b.C", **options)


def test_every_event_has_a_handler() -> None:
    kinds = ev.Event.__args__  # type: ignore[attr-defined]
    assert set(HANDLERS) == set(kinds)


def test_a_child_counts_as_started_only_when_it_says_that_it_is_ready() -> None:
    core = Core(spec("a"), spec("b", depends_on=("a",)))
    core(ev.StartSupervisor())
    assert core.of(ev.Spawn) == [ev.Spawn("a", 1)]
    assert core["b"].waiting and tree(core.state, core.now)[2]["waiting_for"] == ["a"]
    core(ev.ChildReady("a", 1))
    assert core.of(ev.Spawn) == [ev.Spawn("b", 1)]


def test_who_is_starting_when_a_dependency_ends_starts_over_once_it_is_back() -> None:
    """What it had asked of the dependency may have died with it, and nobody would ever answer."""
    core = Core(
        spec("egress"), spec("cage:x", depends_on=("egress",), on_limit=OnLimit.FAIL), spec("b", depends_on=("egress",))
    )
    core(ev.StartSupervisor())
    core(ev.ChildReady("egress", 1))
    core(ev.ChildReady("b", 1))
    core(ev.ChildExited("egress", 1, CRASH))
    assert core.of(ev.Kill) == [ev.Kill("cage:x", 1)], (
        "killed, not stopped: a keeper that is stopped ends what it keeps"
    )
    core(ev.ChildExited("cage:x", 1, ExitReason("signal", "", 9)))
    assert not core.of(ev.Spawn) and core["cage:x"].waiting
    core(ev.ChildReady("egress", 2))
    assert core.of(ev.Spawn) == [ev.Spawn("cage:x", 2)]
    assert core["cage:x"].window.entries == core["b"].window.entries == core["cage:x"].window.entries.__class__()
    assert core["b"].incarnation == 1, "who is up already keeps its process"


@pytest.mark.parametrize("kind", ["signal", "crash", "exit", "timeout"])
@pytest.mark.parametrize("verb", ["stop", "restart", "remove"])
def test_a_keeper_that_dies_over_a_users_stop_is_made_again_to_finish_it(verb: str, kind: str) -> None:
    """What it keeps might live on otherwise, under the eyes of an operator who was told that it is gone."""
    core = Core(spec("dep"), spec("a", keeper=True, shutdown=20.0, depends_on=("dep",))).up()
    core(ev.ChildExited("dep", 1, CRASH))
    core(ev.RemoveChild("a", 7) if verb == "remove" else ev.UserCommand("a", verb, 7))
    core(ev.ChildExited("a", 1, ExitReason(kind)))
    assert core.of(ev.Spawn) == [ev.Spawn("a", 2, finish=True)], "also without its dependency"
    assert [(timer.kind, timer.delay) for timer in core.of(ev.SetTimer)] == [(TimerKind.SHUTDOWN, 20.0)]
    assert core["a"].state == "stopping" and not core.of(ev.Answer)
    core(ev.ChildReady("dep", 2))
    core(ev.ChildExited("a", 2, ExitReason("shutdown")))
    assert [answer.request for answer in core.of(ev.Answer)] == [7]
    assert core.of(ev.Spawn) == ([ev.Spawn("a", 3)] if verb == "restart" else [])


def test_what_no_keeper_can_finish_is_given_up_after_three() -> None:
    core = Core(spec("a", keeper=True)).up()
    core(ev.UserCommand("a", "stop", 7))
    for incarnation in (1, 2, 3):
        core(ev.ChildExited("a", incarnation, CRASH))
        assert core.of(ev.Spawn) == [ev.Spawn("a", incarnation + 1, finish=True)]
    core(ev.ChildExited("a", 4, CRASH))
    assert core["a"].state == "stopped" and core.of(ev.Answer) and not core.of(ev.Spawn)


@pytest.mark.parametrize("options", [{"keeper": False}, {"keeper": True, "shutdown": 0.0}])
def test_a_child_that_keeps_nothing_or_is_to_be_killed_is_done_when_it_is_dead(options: dict[str, Any]) -> None:
    core = Core(spec("a", **options)).up()
    core(ev.UserCommand("a", "stop", 7))
    core(ev.ChildExited("a", 1, ExitReason("signal", "", 9)))
    assert core["a"].state == "stopped" and core.of(ev.Answer) and not core.of(ev.Spawn)


def test_only_so_many_start_at_once_and_the_others_in_the_order_they_came() -> None:
    core = Core(*(spec(name, takes_turns=True) for name in "abcd"), spec("free"), turns=2)
    core(ev.StartSupervisor())
    assert [spawn.child for spawn in core.of(ev.Spawn)] == ["a", "b", "free"]
    assert core["c"].state == core["d"].state == "starting"
    assert [node["waiting_for"] for node in tree(core.state, core.now)[3:5]] == [["its turn"], ["its turn"]]
    core(ev.ChildReady("b", 1))
    assert core.of(ev.Spawn) == [ev.Spawn("c", 1)]
    core(ev.ChildReady("b", 1))
    core(ev.ChildExited("free", 1, CRASH))
    assert core.of(ev.Spawn) == [ev.Spawn("free", 2)]
    core(ev.ChildExited("a", 1, CRASH))
    assert core.of(ev.Spawn) == [ev.Spawn("d", 1)] and core["a"].waiting, "who fails goes to the end of the queue"
    core(ev.UserCommand("a", "stop", 1))
    assert core["a"].state == "stopped"
    core(ev.ChildReady("c", 1))
    assert not core.of(ev.Spawn), "a user's stop takes it out of the queue"


def test_a_turn_comes_back_when_its_holder_is_killed() -> None:
    core = Core(spec("a", takes_turns=True, start_timeout=9.0), spec("b", takes_turns=True), turns=1)
    core(ev.StartSupervisor())
    [timer] = core.of(ev.SetTimer)
    core(ev.TimerFired("a", TimerKind.START, timer.epoch), later=9.0)
    assert core.of(ev.Kill) and not core.of(ev.Spawn), "it has its turn until it is gone"
    core(ev.ChildExited("a", 1, ExitReason("signal", "", 9)))
    assert core.of(ev.Spawn) == [ev.Spawn("b", 1)]


def test_each_start_has_a_deadline() -> None:
    core = Core(spec("a", start_timeout=7.0))
    core(ev.StartSupervisor())
    [timer] = core.of(ev.SetTimer)
    assert (timer.kind, timer.delay) == (TimerKind.START, 7.0)
    core(ev.TimerFired("a", TimerKind.START, timer.epoch), later=7.0)
    assert core.of(ev.Kill) == [ev.Kill("a", 1)]
    core(ev.ChildExited("a", 1, ExitReason("signal", "", 9)))
    assert core["a"].last_exit.kind == "timeout" and core.of(ev.Spawn) == [ev.Spawn("a", 2)]


def test_a_deadline_of_an_older_start_kills_nobody() -> None:
    core = Core(spec("a"))
    core(ev.StartSupervisor())
    [old] = core.of(ev.SetTimer)
    core(ev.ChildExited("a", 1, CRASH))
    core(ev.TimerFired("a", TimerKind.START, old.epoch), later=30.0)
    assert core.actions == []


def test_no_replacement_before_the_old_process_is_known_to_be_gone() -> None:
    core = Core(spec("a", heartbeat=Heartbeat(1.0, 1.0))).up()
    [beat] = [a for a in core.actions if isinstance(a, ev.SetTimer)]
    core(ev.TimerFired("a", TimerKind.HEARTBEAT, beat.epoch), later=1.0)
    assert core.of(ev.Kill) and not core.of(ev.Spawn)
    [retry] = core.of(ev.SetTimer)
    core(ev.TimerFired("a", TimerKind.KILL, retry.epoch), later=5.0)
    assert core.of(ev.Kill) and not core.of(ev.Spawn)
    core(ev.ChildExited("a", 1, ExitReason("signal", "", 9)))
    assert core.of(ev.Spawn) == [ev.Spawn("a", 2)]


def beat_until_killed(core: Core, name: str, interval: float, limit: int = 50) -> int:
    beats = 0
    [timer] = [a for a in core.actions if isinstance(a, ev.SetTimer) and a.kind is TimerKind.HEARTBEAT]
    while beats < limit:
        core(ev.TimerFired(name, TimerKind.HEARTBEAT, timer.epoch), later=interval)
        if core.of(ev.Kill):
            return beats
        beats += 1
        [timer] = core.of(ev.SetTimer)
    return beats


def test_missed_heartbeats_kill_after_the_timeout() -> None:
    core = Core(spec("a", heartbeat=Heartbeat(5.0, 15.0))).up()
    assert beat_until_killed(core, "a", 5.0) == 2
    assert core["a"].doom.detail == "no answer to heartbeats for 15.0 s"


def test_a_child_may_be_watched_while_it_starts() -> None:
    core = Core(spec("a", start_timeout=90.0, heartbeat=Heartbeat(5.0, 15.0, throughout=True)))
    core(ev.StartSupervisor())
    assert beat_until_killed(core, "a", 5.0) == 2
    core(ev.ChildExited("a", 1, ExitReason("signal", "", 9)))
    assert core["a"].last_exit.kind == "timeout"


def test_a_child_may_be_watched_while_it_stops() -> None:
    core = Core(spec("a", shutdown=60.0, heartbeat=Heartbeat(5.0, 15.0, throughout=True)))
    core(ev.StartSupervisor())
    beat = core.actions
    core(ev.ChildReady("a", 1))
    core(ev.UserCommand("a", "stop", 1))
    core.actions = beat
    assert beat_until_killed(core, "a", 5.0) == 2
    core(ev.ChildExited("a", 1, ExitReason("signal", "", 9)))
    assert core["a"].state == "stopped" and core.of(ev.Answer) and not core.of(ev.Spawn)


def test_an_answer_keeps_it_alive() -> None:
    core = Core(spec("a", heartbeat=Heartbeat(5.0, 15.0))).up()
    for _ in range(20):
        [timer] = [a for a in core.actions if isinstance(a, ev.SetTimer)]
        core(ev.TimerFired("a", TimerKind.HEARTBEAT, timer.epoch), later=5.0)
        kept = core.actions
        [ping] = core.of(ev.SendPing)
        core(ev.HeartbeatAnswered("a", 1, ping.seq))
        core.actions = kept
    assert core["a"].alive


def test_a_supervisor_that_was_suspended_itself_asks_before_it_kills() -> None:
    core = Core(spec("a", heartbeat=Heartbeat(5.0, 15.0))).up()
    [timer] = [a for a in core.actions if isinstance(a, ev.SetTimer)]
    core(ev.TimerFired("a", TimerKind.HEARTBEAT, timer.epoch), later=3600.0)
    assert not core.of(ev.Kill) and core.of(ev.SendPing)
    assert beat_until_killed(core, "a", 5.0) == 2


def test_a_user_s_stop_outranks_a_pending_restart() -> None:
    core = Core(spec("a", backoff=Backoff(1.0, 2.0, 30.0))).up()
    core(ev.ChildExited("a", 1, CRASH))
    [timer] = core.of(ev.SetTimer)
    core(ev.UserCommand("a", "stop", 1))
    assert core.of(ev.Answer) == [ev.Answer(1, {"child": "a", "state": "stopped"})]
    core(ev.TimerFired("a", TimerKind.BACKOFF, timer.epoch), later=1.0)
    assert core.actions == [] and core["a"].state == "stopped"


def test_a_user_s_stop_outranks_a_user_s_restart() -> None:
    core = Core(spec("a")).up()
    core(ev.UserCommand("a", "restart", 1))
    core(ev.UserCommand("a", "stop", 2))
    core(ev.ChildExited("a", 1, ExitReason("shutdown")))
    assert not core.of(ev.Spawn) and core["a"].state == "stopped"
    assert {answer.request for answer in core.of(ev.Answer)} == {1, 2}


def test_a_stopped_child_is_not_revived_by_a_group_restart() -> None:
    core = Core(spec("a"), spec("b"), strategy=Strategy.ONE_FOR_ALL).up()
    core(ev.UserCommand("b", "stop", 1))
    core(ev.ChildExited("b", 1, ExitReason("shutdown")))
    core(ev.ChildExited("a", 1, CRASH))
    assert core.of(ev.Spawn) == [ev.Spawn("a", 2)]
    core(ev.ChildReady("a", 2))
    assert not core.of(ev.Spawn) and core["b"].state == "stopped"


def test_starting_a_child_in_backoff_cuts_the_wait_and_forgives_its_past() -> None:
    core = Core(spec("a", backoff=Backoff(1.0, 2.0, 30.0), on_limit=OnLimit.FAIL)).up()
    core(ev.ChildExited("a", 1, CRASH))
    core(ev.UserCommand("a", "start", 1))
    assert core.of(ev.Spawn) == [ev.Spawn("a", 2)] and core.of(ev.Answer)
    assert core["a"].attempts == 0 and tree(core.state, core.now)[1]["restarts"] == 0


@pytest.mark.parametrize(
    ("verb", "state", "code"),
    [
        ("start", "running", ErrorCode.WRONG_STATE),
        ("start", "starting", ErrorCode.WRONG_STATE),
        ("start", "stopping", ErrorCode.WRONG_STATE),
        ("stop", "stopped", ErrorCode.WRONG_STATE),
        ("restart", "stopping", ErrorCode.WRONG_STATE),
        ("dance", "running", ErrorCode.INVALID),
    ],
)
def test_what_is_refused_says_why(verb: str, state: str, code: ErrorCode) -> None:
    core = Core(spec("a"))
    core(ev.StartSupervisor())
    if state != "starting":
        core(ev.ChildReady("a", 1))
    if state in ("stopping", "stopped"):
        core(ev.UserCommand("a", "stop", 1))
    if state == "stopped":
        core(ev.ChildExited("a", 1, ExitReason("shutdown")))
    core(ev.UserCommand("a", verb, 2))
    [refusal] = core.of(ev.Refuse)
    assert refusal.code is code and refusal.request == 2
    assert (state if code is ErrorCode.WRONG_STATE else "allowed") in refusal.message


def test_more_than_max_restarts_ends_the_supervisor_in_order() -> None:
    core = Core(spec("a"), spec("b"), spec("c", depends_on=("b",)), intensity=Intensity(1, 60.0)).up()
    core(ev.ChildExited("a", 1, CRASH))
    core(ev.ChildReady("a", 2))
    core(ev.ChildExited("a", 2, CRASH), later=60.0)
    assert core.of(ev.SendStop) == [ev.SendStop("c", 1, ev.StopReason.ESCALATION)]
    core(ev.ChildExited("c", 1, ExitReason("shutdown")))
    assert core.of(ev.SendStop) == [ev.SendStop("b", 1, ev.StopReason.ESCALATION)]
    core(ev.ChildExited("b", 1, ExitReason("shutdown")))
    assert core.actions[-1] == ev.Escalate("a: more than 1 restarts in 60 s")


def test_children_that_fail_alone_never_add_up() -> None:
    """However many hostile cages there are, the services' budget is untouched."""
    cages = [spec(f"cage:x{index}", on_limit=OnLimit.FAIL) for index in range(20)]
    core = Core(spec("egress"), *cages, intensity=Intensity(3, 60.0)).up()
    for _ in range(4):
        for cage in cages:
            core(ev.ChildExited(cage.id, core[cage.id].incarnation, CRASH))
    assert all(core[cage.id].state == "failed" for cage in cages)
    assert core["egress"].state == "running" and core.state.giving_up is None and healthy(core.state)
    assert tree(core.state, core.now)[0]["restarts"] == 0


def test_a_child_that_dies_at_once_for_ever_meets_its_limit_despite_backoff() -> None:
    core = Core(spec("cage:x", on_limit=OnLimit.FAIL, backoff=Backoff(30.0, 1.0, 30.0, jitter=0.0))).up()
    for incarnation in range(1, 6):
        core(ev.ChildExited("cage:x", incarnation, CRASH))
        [timer] = [a for a in core.actions if isinstance(a, ev.SetTimer)]
        core(ev.TimerFired("cage:x", timer.kind, timer.epoch), later=30.0)
        core(ev.ChildReady("cage:x", incarnation + 1))
    core(ev.ChildExited("cage:x", 6, CRASH))
    assert core["cage:x"].state == "failed"


def test_backoff_grows_and_a_stable_time_resets_it() -> None:
    core = Core(spec("a", backoff=Backoff(1.0, 2.0, 30.0, 60.0, 0.0)), intensity=Intensity(100, 60.0)).up()
    delays = []
    for incarnation, lived in enumerate([0.0, 0.0, 59.0, 60.0, 0.0], 1):
        core(ev.ChildExited("a", incarnation, CRASH), later=lived)
        [timer] = [a for a in core.actions if isinstance(a, ev.SetTimer)]
        delays.append(timer.delay)
        assert tree(core.state, core.now)[1]["next_restart_in_s"] == timer.delay
        core(ev.TimerFired("a", timer.kind, timer.epoch), later=timer.delay)
        core(ev.ChildReady("a", incarnation + 1))
    assert delays == [1.0, 2.0, 4.0, 1.0, 2.0]


@pytest.mark.parametrize(
    ("restart", "keeper", "kind", "again"),
    [
        (Restart.PERMANENT, False, "normal", True),
        (Restart.PERMANENT, False, "crash", True),
        (Restart.TRANSIENT, False, "normal", False),
        (Restart.TRANSIENT, False, "shutdown", False),
        (Restart.TRANSIENT, False, "failed", True),
        (Restart.TRANSIENT, False, "signal", True),
        (Restart.TEMPORARY, False, "signal", False),
        (Restart.TEMPORARY, True, "signal", True),
        (Restart.TEMPORARY, True, "timeout", True),
        (Restart.TEMPORARY, True, "failed", False),
        (Restart.TEMPORARY, True, "normal", False),
        (Restart.TRANSIENT, True, "normal", False),
    ],
)
def test_restart_words(restart: Restart, keeper: bool, kind: str, again: bool) -> None:
    core = Core(spec("a", restart=restart, keeper=keeper)).up()
    core(ev.ChildExited("a", 1, ExitReason(kind)))
    assert bool(core.of(ev.Spawn)) == again


@pytest.mark.parametrize(("shutdown", "first"), [(0.0, ev.Kill), (5.0, ev.SendStop), (float("inf"), ev.SendStop)])
def test_shutdown_brutal_timed_and_infinite(shutdown: float, first: type) -> None:
    core = Core(spec("a", shutdown=shutdown)).up()
    core(ev.Shutdown())
    stop = next(a for a in core.actions if isinstance(a, ev.Kill | ev.SendStop))
    assert isinstance(stop, first)
    timers = [timer.kind for timer in core.of(ev.SetTimer)]
    assert timers == {0.0: [TimerKind.KILL], 5.0: [TimerKind.SHUTDOWN]}.get(shutdown, [])


def test_children_are_added_and_removed_at_run_time() -> None:
    core = Core(spec("a"), strategy=Strategy.DYNAMIC).up()
    core(ev.AddChild(spec("b", depends_on=("a",)), 1))
    assert core.of(ev.Spawn) == [ev.Spawn("b", 1)] and core.of(ev.Answer)
    core(ev.AddChild(spec("b"), 2))
    assert core.of(ev.Refuse)[0].code is ErrorCode.CONFLICT
    core(ev.AddChild(spec("c", depends_on=("z",)), 3))
    assert core.of(ev.Refuse)[0].code is ErrorCode.INVALID and "'z'" in core.of(ev.Refuse)[0].message
    core(ev.RemoveChild("a", 4))
    assert core.of(ev.Refuse)[0].code is ErrorCode.CONFLICT and "b depends on a" in core.of(ev.Refuse)[0].message
    core(ev.RemoveChild("b", 5))
    assert core.of(ev.SendStop) and not core.of(ev.Answer)
    core(ev.ChildExited("b", 1, ExitReason("shutdown")))
    assert core.of(ev.Forget) == [ev.Forget("b")] and core.of(ev.Answer)[0].request == 5
    assert list(core.state.children) == ["a"] and core.state.dependents == {"a": []}
    core(ev.RemoveChild("nobody", 6))
    assert core.of(ev.Refuse)[0].code is ErrorCode.NOT_FOUND and "there are: a" in core.of(ev.Refuse)[0].message


def test_dynamic_children_are_forgotten_when_they_are_done() -> None:
    core = Core(spec("a", restart=Restart.TRANSIENT), strategy=Strategy.DYNAMIC).up()
    core(ev.ChildExited("a", 1, ExitReason("normal")))
    assert core.of(ev.Forget) == [ev.Forget("a")] and core.state.children == {}


def test_a_significant_child_s_end_ends_the_supervisor() -> None:
    core = Core(
        spec("a"),
        spec("b", restart=Restart.TRANSIENT, significant=True),
        auto_shutdown=AutoShutdown.ANY_SIGNIFICANT,
    ).up()
    core(ev.ChildExited("b", 1, ExitReason("normal")))
    assert core.of(ev.SendStop) == [ev.SendStop("a", 1, ev.StopReason.SHUTDOWN)]
    core(ev.ChildExited("a", 1, ExitReason("shutdown")))
    assert core.actions[-1] == ev.Done("shutdown")


def test_children_that_do_not_autostart_wait_for_their_user() -> None:
    core = Core(spec("a", autostart=False)).up()
    assert core["a"].state == "stopped" and tree(core.state, core.now)[1]["wanted"] is False
    core(ev.UserCommand("a", "start", 1))
    assert core.of(ev.Spawn) == [ev.Spawn("a", 1)]


def test_the_tree_says_paused_while_the_child_does() -> None:
    core = Core(spec("a")).up()
    core(ev.ChildSpawned("a", 1, 4711))
    core(ev.ChildPhase("a", 1, "paused", {"since": 3}))
    node = tree(core.state, core.now + 2.0, pid=1, since=90.0)[1]
    assert (node["state"], node["pid"], node["uptime_s"], node["detail"]) == ("paused", 4711, 2.0, {"since": 3})
    core(ev.ChildPhase("a", 1, "running", {}))
    assert tree(core.state, core.now)[1]["state"] == "running"
    core(ev.ChildPhase("a", 1, "paused", {}))
    core(ev.ChildExited("a", 1, CRASH))
    node = tree(core.state, core.now)[1]
    assert (node["state"], node["pid"], node["phase"]) == ("starting", None, "")
    assert node["last_exit"] == {"kind": "crash", "detail": "RuntimeError: x", "code": None}


def test_health_is_about_services() -> None:
    core = Core(spec("egress", backoff=Backoff(1.0)), spec("cage:x", on_limit=OnLimit.FAIL))
    assert not healthy(core.state)
    core.up()
    assert healthy(core.state)
    core(ev.ChildExited("cage:x", 1, CRASH))
    assert healthy(core.state)
    core(ev.ChildExited("egress", 1, CRASH))
    assert not healthy(core.state)
    core(ev.UserCommand("egress", "stop", 1))
    assert healthy(core.state)


def test_fifty_thousand_events_a_second_with_a_thousand_children() -> None:
    few, many = events_per_second(10), events_per_second(1000)
    print(f"{few:,.0f} events/s with 10 children, {many:,.0f} with 1,000")
    assert many >= 50_000
    assert many >= few / 3, "the cost of an event grows with the number of children"

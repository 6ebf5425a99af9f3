"""The supervisor with real processes: what `decide` says is really done."""

from __future__ import annotations

import os
import signal
import statistics
import time
from pathlib import Path

import pytest
from supervision_actors import Careless
from supervision_system import WORKER, Tree

from nullbox.protocols.messages import Failure, Query, Reply, Stop
from nullbox.supervision.backoff import NO_BACKOFF, Backoff
from nullbox.supervision.spec import ChildSpec, ChildType, Heartbeat, OnLimit, Restart

pytestmark = pytest.mark.timeout(120)


def spec(name: str, **changes: object) -> ChildSpec:
    changes.setdefault("backoff", NO_BACKOFF)
    return ChildSpec(name, WORKER, **changes)  # type: ignore[arg-type]


def test_a_killed_child_is_replaced_and_its_siblings_stay() -> None:
    with Tree([spec("a"), spec("b"), spec("c")]) as tree:
        before = tree.all_running()
        tree.kill("b")
        after = tree.until(lambda n: n["b"]["incarnation"] == 2 and n["b"]["state"] == "running")
        for sibling in ("a", "c"):
            assert after[sibling]["pid"] == before[sibling]["pid"]
            assert after[sibling]["incarnation"] == 1
        assert after["b"]["pid"] != before["b"]["pid"]
        assert after["b"]["last_exit"] == {"kind": "signal", "detail": "killed by SIGKILL", "code": 9}
        assert after["b"]["restarts"] == after["b"]["restarts_total"] == 1


@pytest.mark.alone
def test_a_replacement_answers_within_40_ms_median() -> None:
    """The best of up to twelve batches: what else runs on the machine can only add to it."""
    medians: list[float] = []
    with Tree([spec("a", on_limit=OnLimit.FAIL), spec("b")], max_restarts=1000) as tree:
        incarnation = tree.all_running()["a"]["incarnation"]
        while len(medians) < 12 and min(medians, default=1.0) > 0.040:
            times = []
            for _ in range(11):
                tree.kill("a")
                began = time.perf_counter()
                incarnation += 1
                tree.until(lambda n, i=incarnation: n["a"]["state"] == "running" and n["a"]["incarnation"] == i)
                times.append(time.perf_counter() - began)
            medians.append(statistics.median(times))
    print("death to ready, medians of 11:", ", ".join(f"{median * 1000:.1f} ms" for median in medians))
    assert min(medians) <= 0.040


def test_a_crash_is_on_record_with_path_and_last_messages() -> None:
    with Tree([spec("a")]) as tree:
        tree.all_running()
        tree.tell_child("a", "crash")
        tree.until(lambda n: n["a"]["incarnation"] == 2)
        [crash] = tree.events("crash")
        assert crash["path"] == "sup/a"
        assert crash["incarnation"] == 1
        assert crash["error"] == "RuntimeError: as asked"
        assert "RuntimeError" in crash["traceback"]
        assert any("Query" in line for line in crash["last_messages"])
        assert tree.nodes()["a"]["last_exit"]["kind"] == "crash"


def test_a_stopped_process_is_noticed_killed_and_replaced() -> None:
    with Tree([spec("a", heartbeat=Heartbeat(0.1, 0.5)), spec("b", heartbeat=Heartbeat(0.1, 0.5))]) as tree:
        before = tree.all_running()
        tree.kill("a", signal.SIGSTOP)
        after = tree.until(lambda n: n["a"]["incarnation"] == 2 and n["a"]["state"] == "running")
        assert after["a"]["last_exit"]["kind"] == "timeout"
        assert after["b"]["pid"] == before["b"]["pid"]


def test_a_hanging_handler_is_noticed_too() -> None:
    with Tree([spec("a", heartbeat=Heartbeat(0.1, 0.5))]) as tree:
        tree.all_running()
        tree.tell_child("a", "hang")
        tree.until(lambda n: n["a"]["incarnation"] == 2 and n["a"]["state"] == "running")


def test_past_the_limit_the_supervisor_gives_up() -> None:
    with Tree([spec("good"), spec("bad")], max_restarts=2) as tree:
        good = tree.all_running()["good"]["pid"]
        for incarnation in (1, 2, 3):
            tree.until(lambda n, i=incarnation: n["bad"]["incarnation"] == i and n["bad"]["state"] == "running")
            tree.kill("bad")
        reason = tree.end()
        assert reason is not None and reason.kind == "failed" and "bad" in reason.detail
        assert not os.path.exists(f"/proc/{good}")


def test_a_child_with_a_limit_of_its_own_fails_alone() -> None:
    crashing = spec("bad", on_limit=OnLimit.FAIL, config={"behaviour": "crash"})
    with Tree([spec("good"), crashing], max_restarts=3) as tree:
        nodes = tree.until(lambda n: n["bad"]["state"] == "failed" and n["good"]["state"] == "running")
        assert nodes["bad"]["incarnation"] == 4
        assert nodes["good"]["incarnation"] == 1
        assert len(tree.events("limit")) == 1
        assert isinstance(tree.command("bad", "start"), Reply)
        tree.until(lambda n: n["bad"]["state"] == "failed" and n["bad"]["incarnation"] == 8)


def test_commands_of_users() -> None:
    with Tree([spec("a"), spec("b")]) as tree:
        tree.all_running()
        answer = tree.command("a", "start")
        assert isinstance(answer, Failure) and answer.code == "wrong_state"
        answer = tree.command("nobody", "stop")
        assert isinstance(answer, Failure) and answer.code == "not_found" and "a, b" in answer.message
        pid = tree.nodes()["a"]["pid"]
        assert tree.command("a", "stop") == Reply(answer.request_id + 2, {"child": "a", "state": "stopped"})
        assert not os.path.exists(f"/proc/{pid}")
        assert tree.nodes()["a"]["state"] == "stopped"
        assert isinstance(tree.command("a", "restart"), Reply)
        assert tree.all_running()["a"]["incarnation"] == 2
        assert isinstance(tree.command("a", "restart"), Reply)
        assert tree.all_running()["a"]["incarnation"] == 3
        assert isinstance(tree.command("b", "remove"), Reply)
        assert set(tree.nodes()) == {"sup", "a"}


def test_a_user_s_stop_outranks_a_pending_restart() -> None:
    with Tree([spec("a", backoff=Backoff(0.3, 2.0, 1.0, 60.0, 0.0))]) as tree:
        tree.all_running()
        tree.kill("a")
        nodes = tree.until(lambda n: n["a"]["state"] == "backoff")
        assert 0 <= nodes["a"]["next_restart_in_s"] <= 0.3
        assert isinstance(tree.command("a", "stop"), Reply)
        end = time.monotonic() + 0.6  # longer than the wait that was cut off
        while time.monotonic() < end:
            assert tree.nodes()["a"]["state"] == "stopped"
        assert tree.nodes()["a"]["incarnation"] == 1


def test_a_child_that_ignores_stop_is_killed_in_time() -> None:
    deaf = spec("a", shutdown=0.3, config={"behaviour": "deaf"})
    with Tree([deaf]) as tree:
        pid = tree.all_running()["a"]["pid"]
        assert isinstance(tree.command("a", "stop"), Reply)
        assert not os.path.exists(f"/proc/{pid}")
        assert tree.nodes()["a"]["last_exit"]["kind"] == "timeout"


def test_a_child_that_never_gets_ready_is_killed_and_counts() -> None:
    silent = spec("a", start_timeout=0.2, on_limit=OnLimit.FAIL, config={"behaviour": "silent"})
    with Tree([silent, spec("b", depends_on=("a",))], max_restarts=1) as tree:
        nodes = tree.until(lambda n: n["a"]["state"] == "failed")
        assert nodes["b"]["state"] == "starting" and nodes["b"]["waiting_for"] == ["a"]
        assert nodes["b"]["pid"] is None


def test_a_start_that_fails_late_leaves_no_process() -> None:
    """Found by crash schedules: the half-made child waited for its Start for ever, beside the one that replaced it."""
    with Tree([spec("a")], Careless) as tree:
        nodes = tree.all_running()
        assert nodes["a"]["incarnation"] == 2 and "no space" in nodes["a"]["last_exit"]["detail"]
        until = time.monotonic() + 10
        while len(actors := list((Path(tree.folder.name) / "a").glob("actor.*"))) != 2:
            assert time.monotonic() < until, f"more than the supervisor and its child: {actors}"
            tree.nodes()


def test_children_know_their_peers_while_these_are_ready() -> None:
    with Tree([spec("a"), spec("b", depends_on=("a",)), spec("g", peers=("*",))]) as tree:
        tree.all_running()

        def peers(name: str) -> list[str]:
            return tree.system.ask(tree.child_address(name), Query(next(tree.ids), "peers", {}), 10.0).value["peers"]

        assert peers("a") == ["sup"]
        assert peers("b") == ["a", "sup"]
        assert peers("g") == ["a", "b", "sup"]
        assert isinstance(tree.command("a", "stop"), Reply)
        assert peers("b") == ["sup"]
        assert peers("g") == ["b", "sup"]


def test_stopping_the_supervisor_stops_the_children_in_reverse() -> None:
    with Tree([spec("a"), spec("b", depends_on=("a",)), spec("c", depends_on=("b",))]) as tree:
        pids = [node["pid"] for node in tree.all_running().values()]
        tree.system.tell(tree.root, Stop("test"))
        reason = tree.end()
        assert reason is not None and reason.kind == "shutdown"
        assert not any(os.path.exists(f"/proc/{pid}") for pid in pids)


def test_supervisors_nest_and_the_tree_shows_all() -> None:
    from nullbox.supervision.tree import spec_to_plain

    inner = ChildSpec(
        "inner",
        "nullbox.supervision.supervisor.Supervisor",
        config={"children": [spec_to_plain(spec("x")), spec_to_plain(spec("y"))], "max_restarts": 1},
        type=ChildType.SUPERVISOR,
        backoff=NO_BACKOFF,
    )
    with Tree([inner, spec("z")]) as tree:
        nodes = tree.until(lambda n: n.get("x", {}).get("state") == "running" and n["inner"]["state"] == "running")
        assert nodes["x"]["parent"] == "inner" and nodes["inner"]["parent"] == "sup"
        for incarnation in (1, 2):
            tree.until(lambda n, i=incarnation: n.get("x", {}).get("incarnation") == i and n["x"]["state"] == "running")
            tree.kill("x")
        nodes = tree.until(lambda n: n["inner"]["incarnation"] == 2 and n.get("x", {}).get("state") == "running")
        assert nodes["inner"]["last_exit"]["kind"] == "failed"
        assert nodes["x"]["incarnation"] == 1
        assert nodes["z"]["incarnation"] == 1


def test_a_temporary_child_is_not_restarted_but_a_killed_keeper_is() -> None:
    once = spec("once", restart=Restart.TEMPORARY)
    keeper = spec("keeper", restart=Restart.TEMPORARY, keeper=True)
    with Tree([once, keeper]) as tree:
        tree.all_running()
        tree.kill("once")
        tree.kill("keeper")
        nodes = tree.until(
            lambda n: (
                n["once"]["state"] == "stopped"
                and n["keeper"]["incarnation"] == 2
                and n["keeper"]["state"] == "running"
            )
        )
        assert nodes["once"]["incarnation"] == 1
        tree.tell_child("keeper", "exit", kind="failed", code=3)
        nodes = tree.until(lambda n: n["keeper"]["state"] == "stopped")
        assert nodes["keeper"]["last_exit"] == {"kind": "failed", "detail": "as asked", "code": 3}

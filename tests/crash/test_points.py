"""The table of fail points is true, and nothing of the harness is in the product."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from nullbox.chaos.board import Board, When
from nullbox.chaos.faults import RAISED, Fault, InjectedFault
from nullbox.chaos.invariants import Hit, Snapshot, Violation, check_secrets, compare
from nullbox.chaos.points import POINTS
from nullbox.chaos.steps import PLACES, all_schedules, schedule, schedules
from nullbox.chaos.weave import locate, wrapped
from nullbox.supervision.tree import ROOT, SERVICES

REPOSITORY = Path(__file__).parents[2]


def test_every_point_is_there_and_named_once() -> None:
    for point in POINTS:
        locate(point)
    assert [name for name, count in Counter(point.name for point in POINTS).items() if count > 1] == []


def test_every_process_has_points() -> None:
    assert {point.owner for point in POINTS} == {*SERVICES, "cage", ROOT, "launcher", "pid1"}


def test_pid_1_is_asked_only_what_it_can_handle() -> None:
    assert {fault for point in POINTS if point.owner == "pid1" for fault in point.faults} == set(RAISED)
    assert set(next(point for point in POINTS if point.owner == "egress").faults) == set(Fault)


def test_a_seed_is_a_schedule() -> None:
    assert list(schedules(7, 50)) == list(schedules(7, 50))
    assert schedule(7) == next(schedules(7, 1)) != schedule(8)


def test_consecutive_seeds_reach_every_fail_point_once() -> None:
    lap = [schedule(seed).steps[0] for seed in range(len(PLACES), 2 * len(PLACES))]
    assert {(step.point, step.when) for step in lap} == set(PLACES)
    assert [step.point for step in lap] != [schedule(seed).steps[0].point for seed in range(len(PLACES))]


def test_all_are_all() -> None:
    steps = [step for schedule in all_schedules() for step in schedule.steps]
    assert len({(step.point, step.when, step.fault) for step in steps}) == len(steps)
    assert len(steps) == sum(2 * len(point.faults) for point in POINTS)


def test_a_secret_in_a_log_is_a_violation(tmp_path: Path) -> None:
    log = tmp_path / "log"
    check_secrets([log, tmp_path / "absent"], "hush")
    log.write_text("all is well")
    check_secrets([log], "hush")
    log.write_text("the value was hush")
    with pytest.raises(Violation, match="holds a secret") as caught:
        check_secrets([log], "hush")
    assert "hush" not in str(caught.value)


def test_the_checker_notices() -> None:
    """Each of these is what a broken system would look like."""
    good = Snapshot({"egress": (10, 1), "cage:alpha": (11, 1), "cage:beta": (12, 1)}, {"alpha": [20], "beta": [21]})
    seen: Counter[str] = Counter()
    compare(good, good, Hit(), seen)
    assert not seen
    replaced = replace(good, actors={**good.actors, "egress": (30, 2)})
    compare(good, replaced, Hit({"egress"}), seen)
    compare(good, replaced, Hit(whole=True), seen)
    compare(good, replace(good, actors={**good.actors, "cage:beta": (30, 2)}), Hit({"cage:beta"}), seen)
    compare(good, replace(good, vms={"alpha": [20], "beta": [33]}), Hit(asked={"beta"}), seen)
    assert seen == {"actor replaced": 3, "VM adopted": 1, "VM replaced": 1}
    for hit, bad in (
        (Hit({"ctxgraph"}), replaced),
        (Hit({"egress"}), replace(good, actors={**good.actors, "egress": (10, 2), "cage:alpha": (11, 2)})),
        (Hit(whole=True), replace(good, vms={"alpha": [20], "beta": [33]})),
        (Hit(asked={"beta"}), replace(good, vms={"alpha": [20], "beta": [33, 34]})),
        (Hit(whole=True, asked={"beta"}), replace(good, vms={"alpha": [20]})),
    ):
        with pytest.raises(Violation):
            compare(good, bad, hit, seen)


def test_the_armed_fault_happens_once_at_its_place(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")
    seen: list[str] = []
    effects = [wrapped(board, index, POINTS[index], lambda index=index: seen.append(str(index))) for index in (0, 1)]
    board.arm(1, When.BEFORE, Fault.EIO, skip=1)
    effects[0]()
    effects[1]()
    assert not board.taken()
    with pytest.raises(OSError, match="injected at"):
        effects[1]()
    assert board.taken() and seen == ["0", "1"]
    effects[1]()
    board.arm(0, When.AFTER, Fault.EXCEPTION)
    with pytest.raises(InjectedFault):
        effects[0]()
    assert seen == ["0", "1", "1", "0"]
    assert [board.passes(0, when) for when in When] == [2, 2]
    assert [board.passes(1, when) for when in When] == [3, 2]


def test_the_product_never_imports_the_harness() -> None:
    """No module outside of the harness names it, so no image that is made of what is imported can hold it."""
    code = (
        "import sys; from nullbox.supervision import nulld, root; from nullbox.supervision.tree import *;"
        "from nullbox.bootstrap import pid1; preload(SERVICES.values()); resolve(CAGE_ACTOR);"
        "print([m for m in sys.modules if m.startswith('nullbox.chaos')])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    for path in (REPOSITORY / "nullbox").rglob("*.py"):
        relative = path.relative_to(REPOSITORY / "nullbox")
        if relative.parts[0] not in ("chaos", "cli"):
            assert "chaos" not in path.read_text(), f"{relative} names the harness"


def test_the_image_has_no_trace_of_it() -> None:
    from image import contents

    assert "nullbox.chaos" not in contents.OUR_PACKAGES
    assert not any("nullbox.chaos".startswith(package + ".") for package in contents.OUR_PACKAGES)

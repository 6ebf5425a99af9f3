"""The table of fail points is true, and nothing of the harness is in the product."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from nullbox.chaos.board import Board, When
from nullbox.chaos.faults import RAISED, Fault, InjectedFault
from nullbox.chaos.points import POINTS
from nullbox.chaos.schedule import all_steps, random_steps
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
    assert list(random_steps(7, 50)) == list(random_steps(7, 50)) != list(random_steps(8, 50))
    assert len(set(all_steps())) == sum(2 * len(point.faults) for point in POINTS)


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

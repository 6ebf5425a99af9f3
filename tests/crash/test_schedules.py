"""Seeded schedules of faults into whole running systems; see `nullbox.chaos.campaign` for what must hold.

`make crash SEED=… N=…` replays or extends: N schedules with consecutive seeds, in systems of `BATCH` schedules each. A
failure names its schedule's seed and that of its system's first schedule.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crash_lab import BATCH, COUNT, EVERYTHING, LACKS, LATE, SEED, WORLDS

from nullbox.chaos.campaign import RECOVERY, Campaign
from nullbox.chaos.report import COMMON, RARE, Report, percentile
from nullbox.chaos.steps import PLACES, Schedule, all_schedules, schedules
from nullbox.chaos.world import World

pytestmark = [
    pytest.mark.net,
    pytest.mark.timeout(max(600, 6 * COUNT)),
    pytest.mark.skipif(bool(LACKS), reason=f"needs {LACKS}"),
]


def run_in_one_system(batch: list[Schedule]) -> Report:
    with World() as world:
        campaign = Campaign(world)
        for schedule in batch:
            campaign.run(schedule)
        return campaign.finish()


def run(batches: Iterable[list[Schedule]]) -> Report:
    """All of them, side by side. Raises the first violation, with how to replay it, once all that runs is through."""
    total = Report()
    with ThreadPoolExecutor(WORLDS) as threads:
        running = [(batch, threads.submit(run_in_one_system, batch)) for batch in batches]
        for batch, future in running:
            try:
                total.add(future.result())
            except BaseException as error:
                threads.shutdown(cancel_futures=True)
                raise AssertionError(f"replay: make crash SEED={batch[0].seed} N={len(batch)}\n{error}") from error
    if path := os.environ.get("NULLBOX_CRASH_REPORT"):
        with open(path, "a") as file:
            file.write(total.to_line() + "\n")
    print(total.summary())
    print("late:", *total.late, "not reached:", *total.unreached, sep="\n  ")
    return total


def test_seeded_schedules() -> None:
    sizes = [min(BATCH, COUNT - first) for first in range(0, COUNT, BATCH)]
    report = run(list(schedules(SEED + number * BATCH, size)) for number, size in enumerate(sizes))
    assert report.schedules == COUNT
    assert len(report.late) <= 1 + LATE * COUNT, report.late
    assert report.faults > 0.8 * COUNT
    if COUNT >= 200:
        assert set(report.seen) >= COMMON, COMMON - set(report.seen)
        assert len(report.places) > 0.9 * len(PLACES)
    if COUNT >= 1000:
        assert set(report.seen) >= RARE, RARE - set(report.seen)
        assert percentile(report.beyond, 0.99) <= RECOVERY


@pytest.mark.slow
@pytest.mark.skipif(not EVERYTHING, reason="a quarter of an hour: CRASH_ALL=1, or make test-full")
@pytest.mark.timeout(7200)
def test_every_fail_point_and_fault() -> None:
    """Owner × fail point × fault, each once. `CRASH_PART=1/4`: the first quarter of them."""
    part, parts = (int(number) for number in os.environ.get("CRASH_PART", "1/1").split("/"))
    chosen = list(all_schedules())[part - 1 :: parts]
    report = run(chosen[first : first + 50] for first in range(0, len(chosen), 50))
    assert report.unreached == []


def test_a_report_survives_its_file(tmp_path: Path) -> None:
    from nullbox.chaos.report import from_lines

    report = Report(3, 7, late=["x"], recoveries=[1.0, 2.0])
    report.taken["SIGKILL before here"] += 2
    path = tmp_path / "reports"
    path.write_text(report.to_line() + "\n" + report.to_line() + "\n")
    both = from_lines(path.read_text().splitlines())
    assert (both.schedules, both.faults, both.recoveries) == (6, 4, [1.0, 2.0, 1.0, 2.0])
    assert both.places == {"before here"}

"""Which faults, in which order: schedules from seeds. Pure; the same seed, the same faults.

A schedule is one to three faults in quick succession, the later ones into the recovery from the first. Its first fault
walks through all fail points: as many consecutive seeds as there are fail points (before and after each effect) reach
every one of them once; everything else is drawn.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

from nullbox.chaos.board import When
from nullbox.chaos.faults import Fault
from nullbox.chaos.points import POINTS, Point

AGENTS = ("alpha", "beta")
SILENT = frozenset({Fault.SIGSTOP, Fault.HANG})
PLACES = tuple((point, when) for point in POINTS for when in When)
"""Every fail point, before and after its effect."""
LENGTHS = (1, 1, 1, 2, 3)
"""How many faults a schedule has, to draw from."""


@dataclass(frozen=True, slots=True)
class Step:
    """One fault. agent: whose cage, where a cage is meant. skip: passes of the point to let go by first."""

    point: Point
    when: When
    fault: Fault
    agent: str
    skip: int = 0

    @property
    def silent(self) -> bool:
        """Whether what is hit goes on living and answers nothing: only its silence tells."""
        return self.fault in SILENT

    def __str__(self) -> str:
        skip = f" after {self.skip}" if self.skip else ""
        return f"{self.fault.name} {self.when.name.lower()} {self.point.name}{skip} ({self.agent})"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What happens to a system at rest, until it is at rest again."""

    seed: int
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        return f"schedule {self.seed}: " + "; ".join(str(step) for step in self.steps)


def schedule(seed: int) -> Schedule:
    """The schedule of a seed."""
    lap, number = divmod(seed, len(PLACES))
    places = list(PLACES)
    random.Random(lap).shuffle(places)  # noqa: S311 - replay, not secrecy
    rng = random.Random(seed)  # noqa: S311
    steps = [_step(rng, *places[number])]
    for _ in range(rng.choice(LENGTHS) - 1):
        steps.append(_step(rng, *rng.choice(PLACES)))
    return Schedule(seed, tuple(steps))


def _step(rng: random.Random, point: Point, when: When) -> Step:
    return Step(point, when, rng.choice(point.faults), rng.choice(AGENTS), rng.choice((0, 0, 0, 1, 3)))


def schedules(seed: int, count: int) -> Iterator[Schedule]:
    """Those of `count` consecutive seeds."""
    return (schedule(seed + index) for index in range(count))


def all_schedules() -> Iterator[Schedule]:
    """Every owner × fail point × fault, each alone."""
    for index, (point, when) in enumerate(PLACES):
        for fault in point.faults:
            yield Schedule(-1, (Step(point, when, fault, AGENTS[index % len(AGENTS)]),))

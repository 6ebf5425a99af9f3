"""The supervisor's pure core with a clock of its own, for tests and benchmarks."""

from __future__ import annotations

import time
from typing import Any

from nullbox.protocols.messages import ExitReason
from nullbox.supervision import events as ev
from nullbox.supervision.decide import decide
from nullbox.supervision.intensity import Intensity
from nullbox.supervision.spec import ChildSpec, OnLimit
from nullbox.supervision.state import State, new_state


class Core:
    """A state, a clock, and the actions of the last event by type."""

    def __init__(self, *specs: ChildSpec, **options: Any) -> None:
        self.state: State = new_state("sup", specs, **options)
        self.now = 100.0
        self.actions: list[ev.Action] = []

    def __call__(self, event: ev.Event, later: float = 0.0) -> list[ev.Action]:
        self.now += later
        _, self.actions = decide(self.state, event, self.now)
        return self.actions

    def of(self, kind: type) -> list[Any]:
        return [action for action in self.actions if isinstance(action, kind)]

    def up(self) -> Core:
        self(ev.StartSupervisor())
        for _ in range(len(self.state.children)):
            for name, child in list(self.state.children.items()):
                if child.alive and child.state == "starting":
                    self(ev.ChildReady(name, child.incarnation))
        return self

    def __getitem__(self, name: str) -> Any:
        return self.state.children[name]


def events_per_second(children: int) -> float:
    """Events a second (of processor time) of crash, backoff, ready in turn over all children; the best of three."""
    specs = [ChildSpec(f"c{i}", "a.b.C", on_limit=OnLimit.FAIL) for i in range(children)]
    best = 0.0
    for _ in range(3):
        core = Core(*specs, intensity=Intensity(10, 1.0)).up()
        state, now, events = core.state, core.now, 0
        began = time.process_time()
        while events < 15_000:
            name = f"c{(events // 3) % children}"
            incarnation = state.children[name].incarnation
            now += 100.0
            _, actions = decide(state, ev.ChildExited(name, incarnation, ExitReason("crash", "RuntimeError: x")), now)
            timer = next(a for a in actions if isinstance(a, ev.SetTimer))
            decide(state, ev.TimerFired(name, timer.kind, timer.epoch), now)
            decide(state, ev.ChildReady(name, incarnation + 1), now)
            events += 3
        best = max(best, events / (time.process_time() - began))
    return best

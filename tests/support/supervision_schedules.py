"""Random worlds and what happens in them, drawn from a `random.Random`, which Hypothesis can supply."""

from __future__ import annotations

import random

from supervision_world import World

from nullbox.supervision import events as ev
from nullbox.supervision.backoff import Backoff
from nullbox.supervision.groups import LINEAR
from nullbox.supervision.intensity import Intensity
from nullbox.supervision.spec import ChildSpec, Heartbeat, OnLimit, Restart, Strategy
from nullbox.supervision.state import new_state

ENDS = ("normal", "shutdown", "crash", "signal", "exit", "failed")


def random_spec(rng: random.Random, name: str, earlier: list[str]) -> ChildSpec:
    depends_on = tuple(other for other in earlier if rng.random() < 0.25)
    backoff = rng.choice(
        [
            Backoff(0.0, 2.0, 0.0, 60.0, 0.0),
            Backoff(1.0, 2.0, 30.0, 60.0, 0.1),
            Backoff(0.5, 3.0, 4.0, 5.0, 0.0),
        ]
    )
    return ChildSpec(
        name,
        "test.actors.Child",
        restart=rng.choice(list(Restart)),
        shutdown=rng.choice([0.0, 5.0, float("inf")]),
        depends_on=depends_on,
        backoff=backoff,
        start_timeout=10.0,
        heartbeat=rng.choice([None, Heartbeat(5.0, 15.0), Heartbeat(5.0, 15.0, throughout=True)]),
        on_limit=rng.choice(list(OnLimit)),
        autostart=rng.random() < 0.85,
        keeper=rng.random() < 0.3,
        takes_turns=rng.random() < 0.5,
    )


def random_world(rng: random.Random, strategy: Strategy | None = None) -> World:
    names = [f"c{index}" for index in range(rng.randint(1, 6))]
    specs = [random_spec(rng, name, names[:index]) for index, name in enumerate(names)]
    strategy = strategy or rng.choice(list(Strategy))
    return World(
        new_state(
            "sup",
            specs,
            strategy=strategy,
            intensity=Intensity(rng.randint(0, 4), rng.choice([5.0, 60.0])),
            seed=rng.randint(0, 99),
            turns=None if strategy in LINEAR else rng.choice([None, 1, 2]),
        )
    )


def random_step(world: World, rng: random.Random) -> None:
    """One thing that happens."""
    living = [name for name, p in world.processes.items() if p.alive and name in world.state.children]
    known = list(world.state.children) or ["c0"]
    action = rng.randint(0, 99)
    if action < 30 and living:
        name = rng.choice(living)
        if world.processes[name].ready or rng.random() < 0.3:
            world.exit(name, rng.choice(ENDS))
        else:
            world.ready(name)
    elif action < 45:
        fresh = [n for n in living if not world.processes[n].ready and not world.processes[n].wedged]
        if fresh:
            world.ready(fresh[0])
    elif action < 55:
        world.next_timer()
    elif action < 62:
        world.advance(rng.choice([0.1, 1.0, 5.0, 30.0, 61.0]))
    elif action < 76:
        world.command(rng.choice([*known, "nobody"]), rng.choice(["start", "stop", "restart"]))
    elif action < 86:
        if living or world.processes:
            name = rng.choice([n for n in world.processes if n in world.state.children] or ["-"])
            if name != "-":
                world.stale(name, rng.choice(["ready", "exit", "phase", "pong", "timer", "beat"]))
    elif action < 90 and living:
        world.processes[rng.choice(living)].wedged = True
    elif action < 93:
        name = f"d{rng.randint(0, 3)}"
        world.add(random_spec(rng, name, known[:2] if world.state.children else []))
    elif action < 96:
        world.remove(rng.choice(known))
    elif action < 99:
        world.settle()
    elif rng.random() < 0.2:
        world.send(ev.Shutdown())


def run_schedule(rng: random.Random, steps: int = 60, strategy: Strategy | None = None) -> World:
    """A random world for some steps, then rest, then shutdown."""
    world = random_world(rng, strategy)
    world.start()
    for _ in range(steps):
        if world.ended is not None:
            break
        random_step(world, rng)
    world.settle()
    if world.ended is None:
        world.send(ev.Shutdown())
        world.settle()
    if world.ended is None:
        raise world.violation("shutdown does not end")
    return world


def run_group_check(rng: random.Random, strategy: Strategy) -> None:
    """From rest, one child ends: exactly those it takes along stop, last first, and start, first first.

    What must happen is worked out from the order of the children alone.
    """
    names = [f"c{index}" for index in range(rng.randint(2, 7))]
    specs = [
        ChildSpec(
            name,
            "test.actors.Child",
            restart=rng.choice([Restart.PERMANENT, Restart.PERMANENT, Restart.TRANSIENT, Restart.TEMPORARY]),
            backoff=rng.choice([Backoff(0.0, 2.0, 0.0, 60.0, 0.0), Backoff(1.0, 2.0, 30.0, 60.0, 0.1)]),
            shutdown=rng.choice([0.0, 5.0]),
        )
        for name in names
    ]
    world = World(new_state("sup", specs, strategy=strategy, intensity=Intensity(100, 60.0)))
    world.start()
    world.settle()
    if world.spawned != names:
        raise world.violation(f"started as {world.spawned}, not {names}")
    for _ in range(3):
        running = [name for name in names if world.processes[name].alive]
        if not running:
            return
        victim = rng.choice(running)
        kind = rng.choice(["crash", "normal"])
        spec = world.state.children[victim].spec
        again = spec.restart is Restart.PERMANENT or (spec.restart is Restart.TRANSIENT and kind == "crash")
        at = names.index(victim)
        along = {
            Strategy.ONE_FOR_ONE: [victim],
            Strategy.DYNAMIC: [victim],
            Strategy.ONE_FOR_ALL: names,
            Strategy.REST_FOR_ONE: names[at:],
        }[strategy]
        stops = [name for name in reversed(along) if name != victim and name in running] if again else []
        by_name = {spec.id: spec for spec in specs}
        starts = [n for n in along if n == victim or by_name[n].restart is not Restart.TEMPORARY] if again else []
        world.spawned.clear()
        world.stopped.clear()
        world.exit(victim, kind)
        world.settle()
        if (world.stopped, world.spawned) != (stops, starts):
            raise world.violation(
                f"{victim} ended under {strategy}: stopped {world.stopped}, started {world.spawned}; "
                f"right would be {stops}, {starts}"
            )

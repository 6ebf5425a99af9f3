"""What must hold whatever happens: of a system at rest, before and after a schedule, and with no agent running."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from nullbox.chaos.steps import AGENTS
from nullbox.chaos.world import World

QUERY = "SELECT objects.value FROM log JOIN objects ON log.object = objects.seq WHERE log.key = ?"


class Violation(AssertionError):
    """Something that must hold did not."""


@dataclass(slots=True)
class Hit:
    """What a schedule may have changed.

    names: actors that took a fault or were killed. whole: the actor system was hit, and so every actor.
    asked: agents whose VM was asked to end.
    """

    names: set[str] = field(default_factory=set)
    asked: set[str] = field(default_factory=set)
    whole: bool = False

    def spares(self, name: str) -> bool:
        return not (self.whole or name in self.names or ("cage" in self.names and name.startswith("cage:")))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A system at rest. actors: id → (pid inside, incarnation). vms: agent → pids of its VMs, seen from outside."""

    actors: dict[str, tuple[int, int]]
    vms: dict[str, list[int]]

    @classmethod
    def take(cls, world: World) -> Snapshot:
        nodes = world.tree()
        actors = {name: (node["pid"], node["incarnation"]) for name, node in nodes.items() if node["pid"]}
        return cls(actors, world.vmms())

    def name_of(self, pid: int) -> str | None:
        """The actor that had this pid inside."""
        return next((name for name, (its, _) in self.actors.items() if its == pid), None)


def compare(before: Snapshot, after: Snapshot, hit: Hit, seen: Counter[str]) -> None:
    """Who was not hit keeps its process and its incarnation; every agent has exactly one VM, and the same, unless
    another was asked for. `seen` counts what happened to the others.

    Raises:
        Violation
    """
    for name, life in before.actors.items():
        if after.actors.get(name) != life:
            if hit.spares(name):
                raise Violation(f"{name} was not hit and has another process: {life} became {after.actors.get(name)}")
            seen["actor replaced"] += 1
    if set(after.vms) != set(AGENTS):
        raise Violation(f"VMs: {after.vms}")
    for agent, pids in after.vms.items():
        if len(pids) != 1:
            raise Violation(f"{agent} has {len(pids)} VMs: {pids}")
        if pids != before.vms[agent]:
            if agent not in hit.asked:
                raise Violation(f"the VM of {agent} was lost: {before.vms[agent]} became {pids}")
            seen["VM replaced"] += 1
        elif after.actors.get(f"cage:{agent}") != before.actors.get(f"cage:{agent}"):
            seen["VM adopted"] += 1


def check_packets(world: World) -> None:
    """Nothing left that no policy allows. Raises Violation."""
    if leaked := world.leaked():
        raise Violation(f"packets left: {leaked[:3]}")


def check_writes(world: World) -> int:
    """Every acknowledged write is in the store. How many there were. Raises Violation."""
    total = 0
    with contextlib.closing(sqlite3.connect(f"file:{world.layout.ctx_store}?mode=ro", uri=True)) as database:
        for writer in (*AGENTS, "operator"):
            noted = world.acknowledged(writer)
            rows = database.execute(QUERY, (f"chaos.{writer}",))
            stored = {json.loads(value)["note"] for (value,) in rows}
            missing = [note for note in noted if note not in stored]
            if missing:
                raise Violation(
                    f"{len(missing)} of {len(noted)} acknowledged writes of {writer} are lost: {missing[:3]}"
                )
            total += len(noted)
    return total


def check_secrets(logs: Iterable[Path], secret: str) -> None:
    """No log holds what was written into the store in confidence. Raises Violation, which does not say it either."""
    for log in logs:
        with contextlib.suppress(FileNotFoundError):
            if secret.encode() in log.read_bytes():
                raise Violation(f"{log} holds a secret")


CHANGING = frozenset({"socket", "anon_inode:[eventpoll]"})
"""Kinds of descriptors of which a process has more or fewer by what it has done: connections, event loops."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What there is of everything that could be left behind, with no agent running.

    descriptors: how many of each kind each process has open, those of connections and event loops aside.
    connections: how many of those.
    sockets: files of sockets, the numbers in their names left out.
    """

    zombies: int
    taps: tuple[str, ...]
    rules: tuple[tuple[str, int], ...]
    cgroups: tuple[str, ...]
    processes: tuple[str, ...]
    cages: tuple[str, ...]
    sockets: tuple[tuple[str, int], ...]
    descriptors: tuple[tuple[str, tuple[tuple[str, int], ...]], ...]
    connections: tuple[tuple[str, int], ...]

    @classmethod
    def take(cls, world: World) -> Baseline:
        """Of a system at rest, once its agents are stopped."""
        found = list(world.processes())
        alive = [process for process in found if process.state != "Z"]
        open_by = sorted(
            ((p.name, world.descriptors(p.pid)) for p in alive), key=lambda item: (item[0], sorted(item[1].items()))
        )
        return cls(
            sum(process.state == "Z" for process in found),
            tuple(world.taps()),
            tuple(sorted(world.rules().items())),
            tuple(world.cgroups()),
            tuple(sorted(process.name for process in alive)),
            tuple(sorted(path.name for path in (world.layout.run / "nullbox" / "cages").glob("*"))),
            tuple(sorted(world.sockets().items())),
            tuple(
                (name, tuple(sorted((kind, many) for kind, many in its.items() if kind not in CHANGING)))
                for name, its in open_by
            ),
            tuple((name, sum(its[kind] for kind in CHANGING)) for name, its in open_by),
        )

    def differences(self, after: Baseline) -> list[str]:
        """What is not as before, in words; empty when all is clean. Who is connected to whom depends on who has talked
        to whom, so as many connections more as there are actors are no leak."""
        left = [
            f"{name}: before {getattr(self, name)}, now {getattr(after, name)}"
            for name in self.__slots__
            if name != "connections" and getattr(self, name) != getattr(after, name)
        ]
        before = dict(self.connections)
        return left + [
            f"{many} connections of {name}, before {before.get(name, 0)}"
            for name, many in after.connections
            if many > before.get(name, 0) + len(self.processes)
        ]

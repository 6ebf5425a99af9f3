"""A real actor system with one supervisor as its root, for tests with processes. Waits for events, never sleeps."""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from nullbox.actors.system import start_system
from nullbox.protocols.messages import Address, ChildCommand, ExitReason, Failure, Query, Reply, Start, TreeQuery
from nullbox.supervision.spec import ChildSpec
from nullbox.supervision.supervisor import Supervisor
from nullbox.supervision.tree import spec_to_plain

WORKER = "supervision_actors.Worker"
DEADLINE = 20.0


class Tree:
    """A supervisor named `sup` over these children."""

    def __init__(self, specs: list[ChildSpec], root: type[Supervisor] = Supervisor, **config: Any) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="nb-sup-")
        self.system = start_system(Path(self.folder.name) / "a")
        self.ids = itertools.count(1)
        self.root = self.system.spawn_root(root, "sup")
        plain = [spec_to_plain(spec) for spec in specs]
        self.system.tell(self.root, Start("sup", 1, {"children": plain, **config}, {}))

    def close(self) -> None:
        self.system.shutdown()
        self.folder.cleanup()

    def __enter__(self) -> Tree:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, message: Any) -> Any:
        return self.system.ask(self.root, message, DEADLINE)

    def nodes(self) -> dict[str, dict[str, Any]]:
        answer = self.ask(TreeQuery(next(self.ids)))
        assert isinstance(answer, Reply)
        return {node["id"]: node for node in answer.value}

    def until(self, condition: Any, what: str = "") -> dict[str, dict[str, Any]]:
        """Ask for the tree until the condition holds for it; fails after a deadline."""
        end = time.monotonic() + DEADLINE
        while True:
            nodes = self.nodes()
            if condition(nodes):
                return nodes
            if time.monotonic() > end:
                raise AssertionError(f"{what or 'the tree'} did not come to be: {nodes}")

    def all_running(self, *names: str) -> dict[str, dict[str, Any]]:
        return self.until(
            lambda nodes: all(node["state"] == "running" for name, node in nodes.items() if not names or name in names),
            "a running tree",
        )

    def command(self, child: str, verb: str) -> Reply | Failure:
        answer = self.ask(ChildCommand(next(self.ids), child, verb))
        assert isinstance(answer, Reply | Failure)
        return answer

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        answer = self.ask(Query(next(self.ids), "events", {"limit": 2000}))
        return [event for event in answer.value["events"] if kind is None or event["kind"] == kind]

    def child_address(self, name: str) -> Address:
        """A child's mailbox, from its pid (a first mailbox of a process is named after it)."""
        pid = self.nodes()[name]["pid"]
        paths = [p.name for p in (Path(self.folder.name) / "a").iterdir() if p.name.split(".")[1:2] == [str(pid)]]
        assert len(paths) == 1, paths
        return Address(paths[0])

    def tell_child(self, name: str, verb: str, **params: Any) -> None:
        self.system.tell(self.child_address(name), Query(next(self.ids), verb, params))

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        pid = self.nodes()[name]["pid"]
        os.kill(pid, number)
        return int(pid)

    def end(self) -> ExitReason | None:
        return self.system.wait(DEADLINE)

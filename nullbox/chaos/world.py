"""A whole system under test: started in namespaces of its own, watched from outside, ended. An edge module.

What is real: PID 1's loop, the launcher, every actor, the transport, nftables and TAPs (in a network namespace with
no way out), cgroups, ctxgraph's store, the gateway. What is not: the VM (`standin`), the machine (watchdog, power).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nullbox.chaos.board import Board
from nullbox.chaos.inside import layout_of
from nullbox.chaos.standin import acknowledged
from nullbox.client import Nulld

REST = 0.6
"""Seconds for which a tree has to stay as it is to be at rest: two heartbeats, so that what fails inside shows."""
CODE = Path(__file__).resolve().parents[2]
AGENTS = ("alpha", "beta")
SERVICES = ("egress", "ctxgraph", "gateway")
CONFIG = """
[supervision]
max_restarts = 1000
heartbeat = { interval = "250ms", timeout = "3s" }
"""
SERVICE = """
[service.NAME]
backoff = { initial = "20ms", factor = 2.0, max = "100ms", reset_after = "1s", jitter = 0.0 }
start_timeout = "4s"
shutdown = "2s"
"""


@dataclass(frozen=True, slots=True)
class Process:
    """A process inside. pid: as seen from outside. name: comm, or `vmm:AGENT` of a stand-in."""

    pid: int
    name: str
    state: str
    parent: int
    start: int


class World:
    """`with World() as world:` is a healthy system with two agents."""

    def __init__(self, boot_seconds: float = 60.0) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="nbc-")
        self.folder = Path(self._folder.name)
        self.layout = layout_of(self.folder)
        self.board = Board(self.folder / "board")
        self.cgroup = f"nullbox-{self.folder.name}"
        self._write_files()
        environment = {**os.environ, "PYTHONPATH": str(CODE)}
        self.log = open(self.folder / "log", "wb")  # noqa: SIM115 - closed with the world
        self.outer = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *(sys.executable, "-m", "nullbox.chaos.inside", "init", str(self.folder)),
            ],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )
        try:
            self.wait(lambda: (self.folder / "ready").exists(), boot_seconds, "PID 1 to run")
            self.init = self._find_init()
            self.namespace = str(Path(f"/proc/{self.init}/ns/pid").readlink())
            self.wait(self.healthy, boot_seconds, "the first healthy tree")
        except BaseException:
            self.close()
            raise

    def _write_files(self) -> None:
        config = {"cgroup": self.cgroup, "beat": 0.25, "heartbeat_timeout": 3.0, "start_timeout": 10.0}
        (self.folder / "config.json").write_text(json.dumps(config))
        (self.layout.system / "config").mkdir(parents=True)
        text = CONFIG + "".join(SERVICE.replace("NAME", name) for name in SERVICES)
        self.layout.config.write_text(text)
        for agent in AGENTS:
            place = self.layout.bundled_agents / agent
            place.mkdir(parents=True)
            (place / "AGENT.toml").write_text(
                f'[agent]\nname = "{agent}"\nentrypoint = ["main.py"]\nruntime = "python"\nrestart = "always"\n'
            )
            (place / "main.py").touch()
        self.layout.guest_root.mkdir()
        self.layout.exits.mkdir(parents=True)
        self.layout.agent_log("x").parent.mkdir(parents=True)

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End it, whatever state it is in."""
        with contextlib.suppress(Exception):
            os.kill(self.init, signal.SIGKILL)  # the kernel ends the whole pid namespace with it
        if self.outer.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.outer.wait(2.0)
            self.outer.kill()
        self.outer.wait()
        self.log.close()
        self._folder.cleanup()
        script = 'mount -t cgroup2 c /sys/fs/cgroup && find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} +'
        subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", self.cgroup], check=False, capture_output=True)

    # --- waiting and asking

    def wait(self, condition: Callable[[], bool], seconds: float, what: str) -> float:
        """Until the condition holds; how long it took. Raises AssertionError after `seconds`."""
        began = time.monotonic()
        while not condition():
            if self.outer.poll() is not None:
                raise AssertionError(f"PID 1 has exited while waiting for {what}\n{self.tail()}")
            if time.monotonic() - began > seconds:
                raise AssertionError(f"{seconds:g} s are over, still waiting for {what}\n{self.describe()}")
            time.sleep(0.02)
        return time.monotonic() - began

    def ask(self, method: str, seconds: float = 2.0, **params: Any) -> Any:
        """A request to the gateway on a connection of its own. Raises what the client raises."""
        with Nulld(self.layout.gateway_socket, timeout=seconds) as nulld:
            return nulld.call(method, **params)

    def tree(self) -> dict[str, dict[str, Any]]:
        """The nodes by id; empty when nobody answers."""
        try:
            return {node["id"]: node for node in self.ask("tree", 1.0)}
        except Exception:
            return {}

    def healthy(self) -> bool:
        """All that should run says that it does."""
        nodes = self.tree()
        wanted = ["nulld", *SERVICES, *(f"cage:{agent}" for agent in AGENTS)]
        return all(nodes.get(name, {}).get("state") == "running" for name in wanted)

    def at_rest(self) -> bool:
        """Healthy, and still the same a moment later: nothing is about to die of what has just happened."""
        before = {name: (node["incarnation"], node["pid"]) for name, node in self.tree().items()}
        if not self.healthy():
            return False
        time.sleep(REST)
        return self.healthy() and before == {n: (v["incarnation"], v["pid"]) for n, v in self.tree().items()}

    # --- looking from outside

    def _find_init(self) -> int:
        [child] = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
        return int(child)

    def processes(self) -> Iterator[Process]:
        """All processes inside."""
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                if str((entry / "ns" / "pid").readlink()) != self.namespace:
                    continue
                yield self._process(int(entry.name))
            except OSError:
                continue

    def _process(self, pid: int) -> Process:
        stat = Path(f"/proc/{pid}/stat").read_text()
        comm = stat[stat.index("(") + 1 : stat.rindex(")")]
        fields = stat[stat.rindex(")") + 2 :].split()
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"nullbox.chaos.standin" in words:
            comm = f"vmm:{Path(words[-2].decode()).parent.name}"
        elif int(fields[1]) == self.init:
            comm = "launcher" if b"nulld" in words else comm
        return Process(pid, comm, fields[0], int(fields[1]), int(fields[19]))

    def by_name(self, prefix: str) -> dict[str, list[Process]]:
        found: dict[str, list[Process]] = {}
        for process in self.processes():
            if process.name.startswith(prefix) and process.state != "Z":
                found.setdefault(process.name, []).append(process)
        return found

    def vmms(self) -> dict[str, list[int]]:
        """Agent → pids of its VMs: one each, when all is well."""
        return {
            name.removeprefix("vmm:"): [process.pid for process in found]
            for name, found in self.by_name("vmm:").items()
        }

    def actors(self) -> dict[str, int]:
        """Actor's id → pid, as the tree says it, translated to the outside. Empty when the tree does not answer."""
        inside = {node["pid"]: name for name, node in self.tree().items() if node["pid"]}
        outside = self.pids()
        return {name: outside[inner] for inner, name in inside.items() if inner in outside}

    def pids(self) -> dict[int, int]:
        """Pid inside → pid outside, of all that run (pid_namespaces(7): NSpid of proc_pid_status(5))."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(OSError, ValueError, IndexError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                if process.state != "Z":
                    found[int(status.partition("NSpid:")[2].split("\n")[0].split()[-1])] = process.pid
        return found

    def descriptors(self, pid: int) -> int:
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())

    def acknowledged(self, agent: str) -> list[str]:
        """What ctxgraph told the agent's VM that it has."""
        try:
            return acknowledged(self.layout.run, agent).read_text().split("\n")[:-1]
        except FileNotFoundError:
            return []

    def leaked(self) -> list[str]:
        """Headers of packets of agents that came out of the uplink."""
        try:
            return (self.folder / "leaked").read_text().split()
        except FileNotFoundError:
            return []

    def inside(self, *command: str) -> str:
        """What a command says in the system's network namespace."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.init), "-n", *command], capture_output=True, text=True, timeout=10, check=True
        )
        return done.stdout

    def taps(self) -> list[str]:
        links = json.loads(self.inside("ip", "-j", "link"))
        return sorted(link["ifname"] for link in links if link["ifname"].startswith("nb"))

    def rules(self) -> int:
        """How many objects the firewall holds, elements of sets included."""
        text = self.inside("nft", "-j", "list", "ruleset")
        objects = json.loads(text)["nftables"]
        return sum(1 + len(next(iter(item.values())).get("elem", []) or []) for item in objects)

    def cgroups(self) -> list[str]:
        return sorted(path.name for path in Path(f"/proc/{self.init}/root/sys/fs/cgroup/{self.cgroup}").glob("*/"))

    def tail(self, lines: int = 40) -> str:
        parts = []
        for name in ("pid1.log", "log"):
            with contextlib.suppress(OSError):
                text = (self.folder / name).read_text(errors="replace").splitlines()
                parts.append(f"--- {name}\n" + "\n".join(text[-lines:]))
        return "\n".join(parts)

    def describe(self) -> str:
        nodes = self.tree()
        text = "\n".join(
            f"{n['id']}: {n['state']} {n['phase']} pid {n['pid']} incarnation {n['incarnation']} last {n['last_exit']}"
            for n in nodes.values()
        )
        return f"tree:\n{text or 'no answer'}\nvmms: {self.vmms()}\n{self.tail()}"

"""A whole system under test: started in namespaces of its own, watched from outside, ended. An edge module.

What is real: PID 1's loop, the launcher, every actor, the transport, nftables and TAPs (in a network namespace with
no way out), cgroups, ctxgraph's store, the gateway. What is not: the VM (`standin`), the machine (watchdog, power).
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nullbox.chaos.board import Board
from nullbox.chaos.inside import layout_of
from nullbox.chaos.outside import Outside
from nullbox.chaos.report import PID1_WAYS, way_of
from nullbox.chaos.standin import acknowledged
from nullbox.chaos.steps import AGENTS
from nullbox.client import Nulld

BEAT = 0.15
"""Seconds between heartbeats."""
REST = 2.5 * BEAT
"""Seconds for which a tree has to stay as it is to be at rest: two heartbeats, so that what fails inside shows."""
LOOK = 0.02
"""Seconds between two looks at a condition."""
SILENCE = 1.5
"""Seconds without an answer after which somebody is given up."""
START_SILENCE = 3.0
"""Seconds for the actor system to give its first sign of life."""
READY_SILENCE = 2.0
"""Seconds for a service to be ready."""
BACKOFF = {"initial": 0.02, "factor": 2.0, "max": 0.1, "reset_after": 1.0, "jitter": 0.0}
"""Of every child. A campaign is about what happens, not about how long one waits for it."""
URGENCY = -10
"""Nice value of all processes inside: what else the machine of the tests does shall not look like a hang."""
MEMORY = "/dev/shm"
"""Where its files are, where there is such a place: another program's writes to a disk would look like a hang."""
CODE = Path(__file__).resolve().parents[2]
SERVICES = ("egress", "ctxgraph", "gateway")
CONFIG = f"""
[supervision]
max_restarts = LIMIT
heartbeat = {{ interval = "{BEAT * 1000:.0f}ms", timeout = "{SILENCE * 1000:.0f}ms" }}
"""
EGRESS = """
[egress]
uplinks = ["up0"]
"""
SERVICE = f"""
[service.NAME]
backoff = {{ initial = "20ms", factor = 2.0, max = "100ms", reset_after = "1s", jitter = 0.0 }}
start_timeout = "{READY_SILENCE * 1000:.0f}ms"
shutdown = "2s"
"""


def is_healthy(nodes: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether all that should run says that it does."""
    wanted = ["nulld", *SERVICES, *(f"cage:{agent}" for agent in AGENTS)]
    return all(nodes.get(name, {}).get("state") == "running" for name in wanted)


class World(Outside):
    """`with World() as world:` is a healthy system with two agents."""

    def __init__(self, boot_seconds: float = 60.0, *, max_restarts: int = 100_000, egress: str = EGRESS) -> None:
        """max_restarts: the supervisor's limit; by default none that a campaign reaches. egress: that table of its
        nulld.toml."""
        self._egress = egress
        self.secret = secrets.token_hex(16)
        self._limit = max_restarts
        self._operator = 0
        memory = MEMORY if os.access(MEMORY, os.W_OK) else None
        self._folder = tempfile.TemporaryDirectory(prefix="nbc-", dir=memory)
        self.folder = Path(self._folder.name)
        self.layout = layout_of(self.folder)
        self.board = Board(self.folder / "board")
        self.cgroup = f"nullbox-{self.folder.name}"
        self._write_files()
        environment = {**os.environ, "PYTHONPATH": str(CODE)}
        self._nulld = Nulld(self.layout.gateway_socket, timeout=SILENCE)
        self.log = open(self.folder / "log", "wb")  # noqa: SIM115 - closed with the world
        self.outer = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL"),  # whoever started it may be killed
                *("nice", "-n", str(URGENCY)),
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
        config = {
            "cgroup": self.cgroup,
            "secret": self.secret,
            "backoff": BACKOFF,
            "beat": BEAT,
            "heartbeat_timeout": SILENCE,
            "start_timeout": START_SILENCE,
        }
        (self.folder / "config.json").write_text(json.dumps(config))
        (self.layout.system / "config").mkdir(parents=True)
        services = "".join(SERVICE.replace("NAME", name) for name in SERVICES)
        self.layout.config.write_text(CONFIG.replace("LIMIT", str(self._limit)) + self._egress + services)
        for agent in AGENTS:
            place = self.layout.bundled_agents / agent
            place.mkdir(parents=True)
            (place / "AGENT.toml").write_text(
                f'[agent]\nname = "{agent}"\nentrypoint = ["main.py"]\nruntime = "python"\nrestart = "always"\n'
                '[capabilities]\nmax_api_calls_per_hour = 60\n[capabilities.network]\nallow = ["web.example.com"]\n'
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
        self._nulld.close()
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
        """Until the condition holds; how long it took. Raises AssertionError after `seconds`, or when PID 1 exits."""
        began = time.monotonic()
        while not condition():
            if self.outer.poll() is not None:
                raise AssertionError(f"PID 1 has exited while waiting for {what}\n{self.tail()}")
            if time.monotonic() - began > seconds:
                raise AssertionError(f"{seconds:g} s are over, still waiting for {what}\n{self.describe()}")
            time.sleep(LOOK)
        return time.monotonic() - began

    def settle(self, seconds: float) -> float:
        """Until all is healthy and stays as it is for `REST`. Returns when it last changed (monotonic seconds).

        Raises:
            AssertionError: it did not within `seconds`.
        """
        seen: object = None
        changed = time.monotonic()

        def settled() -> bool:
            nonlocal seen, changed
            nodes, now = self.tree(), time.monotonic()
            shape = {name: (node["state"], node["incarnation"], node["pid"]) for name, node in nodes.items()}
            if shape != seen:
                seen, changed = shape, now
            return now - changed >= REST and is_healthy(nodes)

        self.wait(settled, seconds, "a healthy tree that stays as it is")
        return changed

    def send(self, method: str, **params: Any) -> socket.socket:
        """A request whose answer nobody waits for; it is under way as long as the connection is open. Raises OSError:
        nobody listens."""
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(self.layout.gateway_socket))
            request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
            connection.sendall(json.dumps(request).encode() + b"\n")
        except OSError:
            connection.close()
            raise
        return connection

    def ask(self, method: str, seconds: float = 2.0, **params: Any) -> Any:
        """A request to the gateway on a connection of its own. Raises what the client raises."""
        with Nulld(self.layout.gateway_socket, timeout=seconds) as nulld:
            return nulld.call(method, **params)

    def tree(self) -> dict[str, dict[str, Any]]:
        """The nodes by id; empty when nobody answers. The connection is kept: this is asked often."""
        try:
            return {node["id"]: node for node in self._nulld.call("tree")}
        except Exception:
            self._nulld.close()
            self._nulld = Nulld(self.layout.gateway_socket, timeout=SILENCE)
            return {}

    def healthy(self) -> bool:
        """All that should run says that it does."""
        return is_healthy(self.tree())

    def write_as_operator(self) -> None:
        """Write into ctxgraph through the gateway, and note it when it was acknowledged."""
        self._operator += 1
        note = f"operator {self._operator}"
        value = {"note": note, "secret": self.secret}
        try:
            self.ask("ctx.write", key="chaos.operator", value=value)
        except Exception:
            return
        with open(acknowledged(self.layout.run, "operator"), "a") as noted:
            noted.write(note + "\n")

    def stop_agents(self) -> None:
        """Until nothing of them is left that is waited for."""
        for agent in AGENTS:
            self.ask("agent.stop", 15.0, name=agent)
        self.wait(lambda: not self.vmms(), 5.0, "the VMs to end")
        self.wait(lambda: not self.taps(), 5.0, "the TAPs to go")
        self.wait(lambda: not self.rules()["elements of agents"], 5.0, "the rules of the agents to go")

    def start_agents(self) -> None:
        for agent in AGENTS:
            self.ask("agent.start", 15.0, name=agent)
        self.settle(20.0)

    def at_rest(self) -> bool:
        """Healthy, and still the same a moment later: nothing is about to die of what has just happened."""
        try:
            self.settle(2 * REST)
        except AssertionError:
            return False
        return True

    # --- looking

    def _find_init(self) -> int:
        [child] = Path(f"/proc/{self.outer.pid}/task/{self.outer.pid}/children").read_text().split()
        return int(child)

    def actors(self) -> dict[str, int]:
        """Actor's id → pid, as the tree says it, translated to the outside. Empty when the tree does not answer."""
        inside = {node["pid"]: name for name, node in self.tree().items() if node["pid"]}
        outside = self.pids()
        return {name: outside[inner] for inner, name in inside.items() if inner in outside}

    def events_seen(self) -> Counter[str]:
        """The ways of recovery that the journal and PID 1's log tell of (see `report`)."""
        seen: Counter[str] = Counter()
        with contextlib.suppress(Exception):
            self.ask("events", 5.0)  # has the gateway fetch the latest
        for line in self.layout.journal.read_text().splitlines():
            with contextlib.suppress(ValueError):
                seen[way_of(json.loads(line)["event"])] += 1
        for line in (self.folder / "pid1.log").read_text(errors="replace").splitlines():
            for words, way in PID1_WAYS.items():
                seen[way] += words in line
        del seen[""]
        return +seen

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

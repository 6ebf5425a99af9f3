"""A system under test, seen from outside: its processes, files, devices and rules. Effects: reads /proc, enters its
network namespace to list what is there. Nothing here asks the system itself."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from nullbox.chaos.standin import acknowledged
from nullbox.chaos.steps import AGENTS
from nullbox.protocols.layout import Layout


@dataclass(frozen=True, slots=True)
class Process:
    """A process inside. pid: as seen from outside. name: comm, or `vmm:AGENT` of a stand-in."""

    pid: int
    name: str
    state: str
    parent: int
    start: int


class Outside:
    """Of one world: its folder, its cgroup's name, its PID 1 (as seen from here) and that one's pid namespace."""

    folder: Path
    layout: Layout
    cgroup: str
    init: int
    namespace: str

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

    def pids(self) -> dict[int, int]:
        """Pid inside → pid outside, of all that run (pid_namespaces(7): NSpid of proc_pid_status(5))."""
        found = {}
        for process in self.processes():
            with contextlib.suppress(OSError, ValueError, IndexError):
                status = Path(f"/proc/{process.pid}/status").read_text()
                if process.state != "Z":
                    found[int(status.partition("NSpid:")[2].split("\n")[0].split()[-1])] = process.pid
        return found

    @staticmethod
    def ended(pid: int) -> bool:
        """Whether this process (as seen from outside) has ended."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return True
        return stat[stat.rindex(")") + 2] in "ZX"

    @staticmethod
    def descriptors(pid: int) -> Counter[str]:
        """How many descriptors of each kind a process has: `socket`, `pipe`, `anon_inode:[eventpoll]`, a file's path.

        Those to /dev/null are left out: an actor has as many as its parent had descriptors when it was forked.
        """
        found: Counter[str] = Counter()
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                kind = str(entry.readlink())
                found[kind.partition(":[")[0] if kind.startswith(("socket:", "pipe:")) else kind] += 1
        del found["/dev/null"]
        return found

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

    def rules(self) -> Counter[str]:
        """How many objects of each kind the firewall holds, and elements of each set."""
        objects = json.loads(self.inside("nft", "-j", "list", "ruleset"))["nftables"]
        found: Counter[str] = Counter()
        for item in objects:
            [(kind, body)] = item.items()
            found[kind] += 1
            if elements := body.get("elem"):
                found[f"elements of {body.get('name')}"] += len(elements)
        return found

    def sockets(self) -> Counter[str]:
        """Files of sockets below the volatile folder, the numbers in their names left out."""
        return Counter(
            "".join(letter for letter in str(path.relative_to(self.layout.run)) if not letter.isdigit())
            for path in self.layout.run.rglob("*")
            if path.is_socket()
        )

    def logs(self) -> list[Path]:
        """Whatever people read to find out what went on."""
        agents = [self.layout.agent_log(agent) for agent in AGENTS]
        return [self.folder / "log", self.folder / "pid1.log", self.layout.journal, *agents]

    def cgroups(self) -> list[str]:
        return sorted(path.name for path in Path(f"/proc/{self.init}/root/sys/fs/cgroup/{self.cgroup}").glob("*/"))

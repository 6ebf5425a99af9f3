"""Where things are on a running system: one table of paths, all relative to two roots.

In the image the roots are `/run` and `/var`; hosted mode and the tests pass their own, so that several
instances live side by side and none touches the host's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYSTEM = Path("/system")
"""Read-only: what the image brings (code, configuration, sample agents, the guests' root)."""


@dataclass(frozen=True)
class Layout:
    """The paths of one NullBox instance.

    `run` is volatile (sockets, FIFOs, locks), `state` is what should last (stores, logs).
    """

    run: Path = Path("/run")
    state: Path = Path("/var")
    system: Path = SYSTEM

    def to_plain(self) -> dict[str, str]:
        """As message data: the inverse of `from_plain`."""
        return {"run": str(self.run), "state": str(self.state), "system": str(self.system)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Layout:
        return cls(Path(plain["run"]), Path(plain["state"]), Path(plain["system"]))

    @property
    def gateway_socket(self) -> Path:
        return self.run / "nulld.sock"

    @property
    def actors(self) -> Path:
        """Sockets of the actor transport; mode 0700."""
        return self.run / "nullbox" / "actors"

    @property
    def exits(self) -> Path:
        """Exit records of reaped orphans, written by PID 1, one file `<pid>` each."""
        return self.run / "nullbox" / "exits"

    @property
    def state_record(self) -> Path:
        """What PID 1 made of the STATE partition: JSON with kind (`disk` or `memory`), device, detail, created."""
        return self.run / "nullbox" / "state.json"

    @property
    def uplink_record(self) -> Path:
        """The uplink: JSON with interface, how, and once it has them address, prefix, router, resolvers."""
        return self.run / "nullbox" / "uplink.json"

    @property
    def machine_id(self) -> Path:
        """The machine's name for good: 32 hex digits."""
        return self.run / "nullbox" / "machine-id"

    @property
    def last_crash(self) -> Path:
        """The last crash report of an actor; PID 1 shows it when it has to hold."""
        return self.run / "nullbox" / "last-crash"

    @property
    def last_kernel_crash(self) -> Path:
        """The last words of a kernel that crashed, there if the boot before this one ended so."""
        return self.run / "nullbox" / "last-kernel-crash"

    @property
    def ctx_sockets(self) -> Path:
        """One folder per agent (`agents/<agent>`) with its ctxgraph socket, and `host/gateway.sock` for the gateway."""
        return self.run / "nullbox" / "ctx"

    @property
    def ctx_host_socket(self) -> Path:
        return self.ctx_sockets / "host" / "gateway.sock"

    def ctx_socket(self, agent: str) -> Path:
        """Alone in its folder, which is all that the agent's VMM sees of the others' sockets."""
        return self.ctx_sockets / "agents" / agent / "sock"

    def cage(self, agent: str) -> Path:
        """Console FIFO, control socket, plan and pid record of one agent's VM."""
        return self.cages / agent

    @property
    def cages(self) -> Path:
        return self.run / "nullbox" / "cages"

    def caged_agents(self) -> list[str]:
        """The agents that have, or had until their actor can say otherwise, a VM. Reads the directory."""
        return sorted(path.name for path in self.cages.iterdir()) if self.cages.is_dir() else []

    @property
    def ctx_store(self) -> Path:
        return self.state / "lib" / "nullbox" / "ctxgraph.sqlite"

    @property
    def deployed_agents(self) -> Path:
        return self.state / "lib" / "nullbox" / "agents"

    @property
    def agent_users(self) -> Path:
        """Which user the VMM of each agent runs as (`cage.users`)."""
        return self.state / "lib" / "nullbox" / "users.json"

    @property
    def data(self) -> Path:
        """The tree behind the agents' `/data` grants."""
        return self.state / "lib" / "nullbox" / "data"

    def agent_log(self, agent: str) -> Path:
        return self.state / "log" / "nullbox" / f"{agent}.log"

    @property
    def journal(self) -> Path:
        """The gateway's journal of events; no agent's name ends in `.jsonl`."""
        return self.state / "log" / "nullbox" / "events.jsonl"

    @property
    def config(self) -> Path:
        return self.system / "config" / "nulld.toml"

    @property
    def bundled_agents(self) -> Path:
        return self.system / "agents"

    @property
    def guest_root(self) -> Path:
        """The read-only root directory that every Python agent's VM shares."""
        return self.system / "guest"

    @property
    def library_dir(self) -> Path:
        """libkrun.so and libkrunfw.so.5."""
        return self.system / "lib"

"""The fail points: every effect of every actor and of PID 1, by the process in which it happens. A table.

An effect is a call that changes or asks something outside the process. Each gives two fail points, before and after
it: before, nothing has happened yet; after, it has, and the caller never learns.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nullbox.chaos.faults import RAISED, Fault


class Passed(StrEnum):
    """When a point is passed: what has to be brought about for it."""

    ALWAYS = "always"
    """All the time: heartbeats, writes and requests do it."""
    RESTART = "restart"
    """When an agent is restarted."""
    START = "start"
    """When the owner starts: it has to be killed."""
    DEATH = "death"
    """When a service dies."""


@dataclass(frozen=True, slots=True)
class Point:
    """owner: the process (an actor's id, `cage` for any agent's, `launcher`, `pid1`). target: module:attribute."""

    owner: str
    target: str
    passed: Passed = Passed.RESTART

    @property
    def name(self) -> str:
        return f"{self.owner}/{self.target.rpartition(':')[2]}"

    @property
    def faults(self) -> tuple[Fault, ...]:
        """What may happen there. PID 1 cannot be replaced: only what it can handle is asked of it."""
        return tuple(fault for fault in Fault if self.owner != "pid1" or fault in RAISED)


POINTS: tuple[Point, ...] = (
    Point("egress", "nullbox.egress.nft:KernelFirewall.apply"),
    Point("egress", "nullbox.egress.nft:KernelFirewall.objects", Passed.START),
    Point("egress", "nullbox.egress.tap:KernelTaps.list"),
    Point("egress", "nullbox.egress.tap:KernelTaps.create"),
    Point("egress", "nullbox.egress.tap:KernelTaps.up"),
    Point("egress", "nullbox.egress.tap:KernelTaps.remove"),
    Point("egress", "nullbox.egress.tap:KernelTaps.enable_forwarding", Passed.START),
    Point("egress", "nullbox.actors.egress:EgressActor.ready", Passed.START),
    Point("egress", "nullbox.actors.egress:EgressActor.on_open_link"),
    Point("egress", "nullbox.actors.egress:EgressActor.on_close_link"),
    Point("egress", "nullbox.actors.egress:EgressActor.on_ping", Passed.ALWAYS),
    Point("ctxgraph", "nullbox.ctxgraph.store:Store.apply", Passed.ALWAYS),
    Point("ctxgraph", "nullbox.ctxgraph.store:Store._insert", Passed.ALWAYS),
    Point("ctxgraph", "nullbox.ctxgraph.service:CtxgraphService.start", Passed.START),
    Point("ctxgraph", "nullbox.ctxgraph.service:CtxgraphService.open_channel"),
    Point("ctxgraph", "nullbox.ctxgraph.service:CtxgraphService.close_channel"),
    Point("ctxgraph", "nullbox.actors.ctxgraph:CtxgraphActor.ready", Passed.START),
    Point("ctxgraph", "nullbox.actors.ctxgraph:CtxgraphActor.on_ping", Passed.ALWAYS),
    Point("gateway", "nullbox.gateway.service:GatewayService.start", Passed.START),
    Point("gateway", "nullbox.actors.gateway:GatewayActor.ready", Passed.START),
    Point("gateway", "nullbox.actors.gateway:GatewayActor.on_reply", Passed.ALWAYS),
    Point("gateway", "nullbox.actors.gateway:GatewayActor.on_peers"),
    Point("gateway", "nullbox.actors.gateway:GatewayActor.on_ping", Passed.ALWAYS),
    Point("gateway", "nullbox.gateway.journal:_write_all"),
    Point("cage", "nullbox.cage.vm:Vm.prepare"),
    Point("cage", "nullbox.cage.vm:Vm.adopt", Passed.START),
    Point("cage", "nullbox.cage.vm:Vm.spawn"),
    Point("cage", "nullbox.cage.process:VmProcess.spawn"),
    Point("cage", "nullbox.cage.process:PidRecord.save"),
    Point("cage", "nullbox.cage.vm:Vm.read_console"),
    Point("cage", "nullbox.cage.vm:Vm.exit_record"),
    Point("cage", "nullbox.cage.vm:Vm.remove"),
    Point("cage", "nullbox.cage.cgroup:Cgroup.create"),
    Point("cage", "nullbox.cage.cgroup:Cgroup.kill"),
    Point("cage", "nullbox.cage.cgroup:Cgroup.remove"),
    Point("cage", "nullbox.actors.cage:CageActor.ready"),
    Point("cage", "nullbox.actors.cage:CageActor.on_link_ready"),
    Point("cage", "nullbox.actors.cage:CageActor.on_channel_ready"),
    Point("cage", "nullbox.actors.cage:CageActor.on_ping", Passed.ALWAYS),
    Point("nulld", "nullbox.supervision.supervisor:Supervisor.spawn", Passed.DEATH),
    Point("nulld", "nullbox.supervision.supervisor:Supervisor.tell", Passed.ALWAYS),
    Point("nulld", "nullbox.supervision.supervisor:Supervisor.after", Passed.ALWAYS),
    Point("nulld", "nullbox.supervision.supervisor:Supervisor.child_exited", Passed.DEATH),
    Point("launcher", "nullbox.supervision.nulld:start_system", Passed.START),
    Point("launcher", "nullbox.supervision.nulld:Launcher._tell_pid1", Passed.ALWAYS),
    Point("launcher", "nullbox.actors.system:System.spawn_root", Passed.START),
    Point("launcher", "nullbox.actors.system:System.tell", Passed.ALWAYS),
    Point("launcher", "nullbox.actors.system:System.receive", Passed.ALWAYS),
    Point("pid1", "nullbox.bootstrap.pid1:reap", Passed.START),
    Point("pid1", "nullbox.bootstrap.reaper:_publish", Passed.START),
    Point("pid1", "nullbox.bootstrap.pid1:Pid1._read_pipe", Passed.ALWAYS),
    Point("pid1", "nullbox.bootstrap.pid1:Pid1._spawn", Passed.START),
    Point("pid1", "nullbox.bootstrap.host:LinuxHost.spawn", Passed.START),
    Point("pid1", "nullbox.bootstrap.watchdog:Watchdog.pet", Passed.ALWAYS),
)

BY_NAME = {point.name: point for point in POINTS}

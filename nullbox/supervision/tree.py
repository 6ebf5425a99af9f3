"""The supervision tree as data: which actors there are, and how each is kept alive.

The only module that knows the concrete actors, and those by dotted name, so that a child's code is loaded
where it is needed and the tree can be read, printed and tested without any of it.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nullbox.protocols.layout import Layout
from nullbox.supervision.backoff import Backoff
from nullbox.supervision.intensity import Intensity
from nullbox.supervision.settings import ServiceSettings, Settings
from nullbox.supervision.spec import (
    ALL_PEERS,
    AutoShutdown,
    ChildSpec,
    ChildType,
    Heartbeat,
    OnLimit,
    Restart,
    Strategy,
)
from nullbox.supervision.state import State, new_state

ROOT = "nulld"
CAGE_PREFIX = "cage:"
CAGE_ACTOR = "nullbox.actors.cage.CageActor"
CAGE_DEPENDS_ON = ("egress", "ctxgraph")
CAGE_SHUTDOWN = 20.0
"""An agent has 5 s to end after SIGTERM, then its VM is killed. The rest is for the end of the VMM, which takes an
emulated machine up to 12 s, and for taking its links down."""
CAGE_BACKOFF = Backoff()
CAGE_START_TIMEOUT = 240.0
"""Longer than the cage's own patience with its guest (180 s), so that the cage is who says what was wrong."""

SERVICES: Mapping[str, ChildSpec] = MappingProxyType(
    {
        "egress": ChildSpec("egress", "nullbox.actors.egress.EgressActor", start_timeout=60.0),
        "ctxgraph": ChildSpec("ctxgraph", "nullbox.actors.ctxgraph.CtxgraphActor", start_timeout=60.0),
        "gateway": ChildSpec("gateway", "nullbox.actors.gateway.GatewayActor", start_timeout=60.0, peers=(ALL_PEERS,)),
    }
)


@dataclass(frozen=True, slots=True)
class AgentEntry:
    """What the tree needs to know of an agent: the rest of its manifest is its cage's business.

    folder: where AGENT.toml and the code lie.
    """

    name: str
    folder: Path
    restart: Restart = Restart.TRANSIENT
    autostart: bool = True


def service_specs(settings: Settings, layout: Layout) -> list[ChildSpec]:
    """The services with what nulld.toml says about them.

    Every config has `layout` and `driver`; the gateway's also `socket`, `vsock`, `operators` and `readers`
    (each `{"uids": […], "gids": […]}`); that of egress and of the gateway, who shows it, the table `egress`.
    """
    common: dict[str, Any] = {"layout": layout.to_plain(), "driver": settings.driver}
    extra: dict[str, dict[str, Any]] = {
        "egress": {"egress": settings.egress.to_plain()},
        "gateway": {
            "egress": settings.egress.to_plain(),
            "socket": settings.gateway_socket or str(layout.gateway_socket),
            "vsock": settings.gateway_vsock,
            "operators": {name: list(ids) for name, ids in asdict(settings.operators).items()},
            "readers": {name: list(ids) for name, ids in asdict(settings.readers).items()},
        },
    }
    return [
        merge(
            replace(spec, config={**common, **extra.get(name, {})}, heartbeat=settings.heartbeat),
            settings.services.get(name, ServiceSettings()),
        )
        for name, spec in SERVICES.items()
    ]


def merge(spec: ChildSpec, said: ServiceSettings) -> ChildSpec:
    """The spec with every field that the configuration speaks of replaced."""
    changes = {
        name: getattr(said, name)
        for name in ("depends_on", "restart", "backoff", "shutdown", "start_timeout")
        if getattr(said, name) is not None
    }
    return replace(spec, **changes)


def cage_spec(agent: AgentEntry, settings: Settings, layout: Layout) -> ChildSpec:
    """The cage of one agent. Its config: `layout`, `driver`, `agent` (the name) and `folder`.

    A cage fails alone at its limit (no agent can take the system down by dying), and it keeps a VM, which
    outlives it: a cage whose process was killed is always made again, to take its VM over.
    """
    return ChildSpec(
        id=CAGE_PREFIX + agent.name,
        start=CAGE_ACTOR,
        config={
            "layout": layout.to_plain(),
            "driver": settings.driver,
            "agent": agent.name,
            "folder": str(agent.folder),
        },
        restart=agent.restart,
        shutdown=CAGE_SHUTDOWN,
        depends_on=CAGE_DEPENDS_ON,
        backoff=CAGE_BACKOFF,
        start_timeout=CAGE_START_TIMEOUT,
        # A VM may take long to start and to stop; its cage only waits meanwhile, and answers.
        heartbeat=replace(settings.heartbeat, throughout=True),
        on_limit=OnLimit.FAIL,
        autostart=agent.autostart,
        keeper=True,
        takes_turns=True,
    )


def starts_together(settings: Settings, cpus: int) -> int:
    """How many agents may start at once. A start is a kernel's boot, all of it work for the processors: more of them
    together than two for each only make every single one late. cpus: those of the machine."""
    return settings.start_together or 2 * cpus


def orphan_spec(name: str, settings: Settings, layout: Layout) -> ChildSpec:
    """A cage for a VM whose agent is no longer there: it finds no manifest, takes the VM down, and ends."""
    agent = AgentEntry(name, layout.deployed_agents / name, Restart.TEMPORARY)
    return replace(cage_spec(agent, settings, layout), depends_on=(), peers=CAGE_DEPENDS_ON, takes_turns=False)


def root_specs(settings: Settings, agents: Iterable[AgentEntry], layout: Layout) -> list[ChildSpec]:
    """All children of the root: the services, then a cage for every agent."""
    return [*service_specs(settings, layout), *(cage_spec(agent, settings, layout) for agent in agents)]


def resolve(start: str) -> Any:
    """The actor class of that dotted name.

    Raises:
        ImportError, AttributeError: there is none.
    """
    module, _, name = start.rpartition(".")
    return getattr(importlib.import_module(module), name)


def preload(specs: Iterable[ChildSpec]) -> None:
    """Import the children's code now, in the process that they will be forked from, and where there are agents what is
    needed for them: memory that is filled before a fork is shared, and what one process imports after it costs that
    much again, and as much once more in copies of pages that were shared."""
    starts = {spec.start for spec in specs}
    for start in sorted(starts):
        actor = resolve(start)
        if CAGE_ACTOR in starts:
            with contextlib.suppress(Exception):  # what it says then is the child's to say, when it starts
                actor.preload()


def spec_to_plain(spec: ChildSpec) -> dict[str, Any]:
    """A spec as message data: for the `config` of a supervisor that is a child itself."""
    plain = asdict(spec)
    plain["config"] = dict(spec.config)
    for name in ("restart", "type", "on_limit"):
        plain[name] = plain[name].value
    plain["depends_on"] = list(spec.depends_on)
    plain["peers"] = list(spec.peers)
    return plain


def spec_from_plain(plain: Mapping[str, Any]) -> ChildSpec:
    """The inverse of `spec_to_plain`. What is left out has its default."""
    fields = dict(plain)
    for name, kind in (("restart", Restart), ("type", ChildType), ("on_limit", OnLimit)):
        if name in fields:
            fields[name] = kind(fields[name])
    for name in ("depends_on", "peers"):
        if name in fields:
            fields[name] = tuple(fields[name])
    if "backoff" in fields:
        fields["backoff"] = Backoff(**fields["backoff"])
    if fields.get("heartbeat") is not None:
        fields["heartbeat"] = Heartbeat(**fields["heartbeat"])
    return ChildSpec(**fields)


def state_from_config(name: str, config: Mapping[str, Any], seed: int) -> State:
    """What a supervisor begins with, from its `Start.config`: `children` (plain specs), `strategy`,
    `max_restarts`, `period` (seconds), `auto_shutdown`; all optional.

    Raises:
        NullBoxError: `invalid`: the children are not sound.
    """
    return new_state(
        name,
        [spec_from_plain(plain) for plain in config.get("children", [])],
        strategy=Strategy(config.get("strategy", Strategy.ONE_FOR_ONE)),
        intensity=Intensity(config.get("max_restarts", 5), config.get("period", 60.0)),
        auto_shutdown=AutoShutdown(config.get("auto_shutdown", AutoShutdown.NEVER)),
        seed=seed,
    )

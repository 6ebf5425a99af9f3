"""What the served methods share: the actors behind, the tree as it was seen last, the journal, the store's socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

from nullbox.gateway import machine, views
from nullbox.gateway.backend import ROOT, Backend
from nullbox.gateway.collector import Collector
from nullbox.gateway.journal import Journal
from nullbox.gateway.rollout import Rollout
from nullbox.protocols.errors import NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import TreeQuery
from nullbox.rpc.aio import AsyncClient

PATIENCE = 0.15
"""Seconds that `status` waits for the root supervisor before it answers from the last tree it saw."""

EGRESS_SHOWN: Mapping[str, Any] = {"uplinks": [], "upstreams": [], "exceptions": [], "learn": False}
"""What `status` shows of the table `egress` in nulld.toml, with what holds where it says nothing."""

Arguments = Mapping[str, Any]


class Core:
    """Made in the gateway's loop, and closed there."""

    def __init__(
        self,
        backend: Backend,
        layout: Layout,
        journal: Journal,
        driver: str = "krun",
        egress: Mapping[str, Any] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.backend = backend
        self.layout = layout
        self.journal = journal
        self.clock = clock
        self.rollout = Rollout(backend, layout)
        self.collector = Collector(backend, journal, self.root_identity)
        self.ctx = AsyncClient(layout.ctx_host_socket, timeout=None)
        self.machine = {
            **machine.versions(),
            "driver": driver,
            "isolation": machine.ISOLATION.get(driver, driver),
            "acceleration": machine.acceleration(),
            "egress": {name: (egress or {}).get(name, default) for name, default in EGRESS_SHOWN.items()},
        }
        self._boot_id = machine.boot_id()
        self._tree: list[dict[str, Any]] = []
        self._tree_at: float | None = None
        self._asking: asyncio.Task[list[dict[str, Any]]] | None = None

    async def close(self) -> None:
        await self.ctx.close()

    async def tree(self) -> list[dict[str, Any]]:
        """The tree as it is now. One question serves everyone who asks meanwhile."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_tree())
        return await asyncio.shield(self._asking)

    async def _ask_tree(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = await self.backend.ask(ROOT, TreeQuery(0))
        self._tree, self._tree_at = nodes, self.clock()
        return nodes

    async def tree_soon(self) -> tuple[list[dict[str, Any]], float]:
        """The tree and its age in seconds: the last one that was seen, if the root does not answer at once."""
        if self._tree_at is None:
            return await self.tree(), 0.0
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.tree(), 0.0
        except (TimeoutError, NullBoxError):
            return self._tree, self.clock() - self._tree_at

    async def root_identity(self) -> str:
        """Names the incarnation of the root supervisor: whoever counts events anew."""
        root = (await self.tree())[0]
        return f"{self._boot_id}/{root['pid']}"

    async def agent(self, name: str) -> views.Node:
        """The node of that agent's cage. Raises NullBoxError `not_found`."""
        return views.find(await self.tree(), name)

    async def state_of(self, name: str) -> dict[str, Any]:
        """`{name, state}`."""
        return {"name": name, "state": (await self.agent(name))["state"]}

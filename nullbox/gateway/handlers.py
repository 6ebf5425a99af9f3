"""Serves the methods: checks the call by the table, asks whom it concerns, shapes the answer."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nullbox.gateway import logs, machine, views
from nullbox.gateway.backend import ROOT, Backend
from nullbox.gateway.journal import Journal
from nullbox.gateway.methods import METHODS, deadline_of
from nullbox.gateway.roles import Role, Roles
from nullbox.gateway.rollout import Rollout
from nullbox.gateway.schema import arguments
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.jsonrpc import method_not_found
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import CageCommand, ChildCommand, PowerCommand, Query, TreeQuery
from nullbox.rpc.aio import AsyncClient
from nullbox.rpc.call import Call
from nullbox.rpc.client import Unreachable

PATIENCE = 0.15
"""Seconds that `status` waits for the root supervisor before it answers from the last tree it saw."""
INSPECT_PATIENCE = 5.0
WAIT_STEP = 0.1
MOST_EVENTS = 200
"""Events of one answer: tracebacks and all, they fit one message."""

Arguments = Mapping[str, Any]


class Handlers:
    """The methods over a backend. `handle` and `deadline` are what `rpc.LineServer` takes."""

    def __init__(
        self,
        backend: Backend,
        layout: Layout,
        roles: Roles,
        journal: Journal,
        driver: str = "krun",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._backend = backend
        self._layout = layout
        self._roles = roles
        self._journal = journal
        self._clock = clock
        self._tree: list[dict[str, Any]] = []
        self._tree_at: float | None = None
        self._asking: asyncio.Task[list[dict[str, Any]]] | None = None
        self._rollout = Rollout(backend, layout)
        self._ctx = AsyncClient(layout.ctx_host_socket, timeout=None)
        self._boot_id = machine.boot_id()
        self._machine = {
            **machine.versions(),
            "driver": driver,
            "isolation": machine.ISOLATION.get(driver, driver),
            "acceleration": machine.acceleration(),
        }

    async def close(self) -> None:
        await self._ctx.close()

    def deadline(self, call: Call) -> float:
        return deadline_of(call.method, call.params.get("timeout"))

    async def handle(self, call: Call) -> Any:
        """Serve one call. Raises NullBoxError as the contract says."""
        method = METHODS.get(call.method)
        if method is None:
            raise method_not_found(call.method, views.suggestion(call.method[:100], tuple(METHODS)))
        self._roles.check(call.peer, method.role, method.name)
        given = arguments(method.name, method.params, call.params)
        if method.role is Role.READER:
            return await self._serve(call, given)
        try:
            value = await self._serve(call, given)
        except NullBoxError as error:
            self._audit(call, given, error.code.value)
            raise
        self._audit(call, given, "done")
        return value

    async def _serve(self, call: Call, given: Arguments) -> Any:
        group, _, rest = call.method.partition(".")
        if group == "ctx":
            return await self._ctx_call(rest, call)
        return await HANDLERS[call.method](self, call, given)

    def _audit(self, call: Call, given: Arguments, result: str) -> None:
        """Who changed what. The parts of an upload but the last change nothing, and ctxgraph has a log of its own."""
        if call.method == "ctx.write" or given.get("last") is False:
            return
        child = f"cage:{given['name']}" if "name" in given else ""
        peer = call.peer
        self._journal.add("command", child, method=call.method, uid=peer.uid, channel=peer.channel, result=result)

    # --- the tree -------------------------------------------------------------------------------------------

    async def tree(self) -> list[dict[str, Any]]:
        """The tree as it is now. One question serves everyone who asks meanwhile."""
        if self._asking is None or self._asking.done():
            self._asking = asyncio.create_task(self._ask_tree())
        return await asyncio.shield(self._asking)

    async def _ask_tree(self) -> list[dict[str, Any]]:
        nodes: list[dict[str, Any]] = await self._backend.ask(ROOT, TreeQuery(0))
        self._tree, self._tree_at = nodes, self._clock()
        return nodes

    async def _tree_soon(self) -> tuple[list[dict[str, Any]], float]:
        """The tree and its age: the last one that was seen, if the root does not answer at once."""
        if self._tree_at is None:
            return await self.tree(), 0.0
        try:
            async with asyncio.timeout(PATIENCE):
                return await self.tree(), 0.0
        except (TimeoutError, NullBoxError):
            return self._tree, self._clock() - self._tree_at

    async def root_identity(self) -> str:
        """Names the incarnation of the root supervisor: whoever counts events anew."""
        root = (await self.tree())[0]
        return f"{self._boot_id}/{root['pid']}"

    async def _agent(self, name: str) -> views.Node:
        return views.find(await self.tree(), name)

    # --- methods --------------------------------------------------------------------------------------------

    async def version(self, call: Call, given: Arguments) -> Any:
        return machine.versions()

    async def discover(self, call: Call, given: Arguments) -> Any:
        from nullbox.gateway import openrpc

        return openrpc.document()

    async def status(self, call: Call, given: Arguments) -> Any:
        tree, age = await self._tree_soon()
        return views.status(tree, {**self._machine, "uptime_s": machine.uptime(), "memory": machine.memory()}, age)

    async def show_tree(self, call: Call, given: Arguments) -> Any:
        return await self.tree()

    async def agent_list(self, call: Call, given: Arguments) -> Any:
        return views.agents(await self.tree())

    async def agent_inspect(self, call: Call, given: Arguments) -> Any:
        node = await self._agent(given["name"])
        shown = {**views.summary(node), "detail": node.get("detail") or {}, "vm": None}
        if node["pid"] is None:
            return shown
        try:
            async with asyncio.timeout(INSPECT_PATIENCE):
                shown["vm"] = await self._backend.ask(node["id"], CageCommand(0, "inspect"))
        except TimeoutError:
            shown["vm_error"] = "the cage does not answer"
        except NullBoxError as error:
            shown["vm_error"] = error.message
        return shown

    async def agent_command(self, call: Call, given: Arguments) -> Any:
        """start, stop, restart: the supervisor's business."""
        node = await self._agent(given["name"])
        await self._backend.ask(ROOT, ChildCommand(0, node["id"], call.method.partition(".")[2]))
        return await self._now(given["name"])

    async def agent_deploy(self, call: Call, given: Arguments) -> Any:
        return await self._rollout.deploy(given)

    async def agent_remove(self, call: Call, given: Arguments) -> Any:
        await self._agent(given["name"])
        return await self._rollout.remove(given["name"])

    async def agent_freeze(self, call: Call, given: Arguments) -> Any:
        """pause, resume: the cage's business."""
        verb = call.method.partition(".")[2]
        node = await self._agent(given["name"])
        views.check_state(node, verb)
        await self._backend.ask(node["id"], CageCommand(0, verb))
        wanted = "paused" if verb == "pause" else "running"
        return {"name": given["name"], "state": wanted}

    async def agent_wait(self, call: Call, given: Arguments) -> Any:
        name, wanted = given["name"], given["for"]
        until = self._clock() + given["timeout"]
        while True:
            now = await self._now(name)
            if now["state"] == wanted:
                return now
            left = until - self._clock()
            if left <= 0:
                message = f"agent {name!r} is {now['state']}, not {wanted}, after {given['timeout']:g} s"
                raise NullBoxError(ErrorCode.TIMEOUT, message, {"state": now["state"]})
            await asyncio.sleep(min(WAIT_STEP, left))

    async def _now(self, name: str) -> dict[str, Any]:
        return {"name": name, "state": (await self._agent(name))["state"]}

    async def agent_logs(self, call: Call, given: Arguments) -> Any:
        await self._agent(given["name"])
        path: Path = self._layout.agent_log(given["name"])
        tail, since = given["tail"], given["since"]
        if given["follow"] or given["whole"]:
            source = logs.stream(path, tail=tail, since=since, follow=given["follow"])
            return call.stream(source, name=given["name"])
        lines = await asyncio.to_thread(logs.newest, path, tail, since)
        return {"name": given["name"], "lines": [line.plain() for line in lines]}

    async def events(self, call: Call, given: Arguments) -> Any:
        if given["follow"]:
            return call.stream(self._follow_events(given["since"]))
        return self._journal.since(given["since"], min(given["limit"], MOST_EVENTS))

    async def _follow_events(self, since: int) -> AsyncIterator[Any]:
        while True:
            for event in self._journal.since(since)["events"]:
                since = event["seq"]
                yield event
            await self._journal.wait(since)

    async def egress_rules(self, call: Call, given: Arguments) -> Any:
        if given["agent"] is not None:
            await self._agent(given["agent"])
        return await self._backend.ask("egress", Query(0, "rules", {"agent": given["agent"]}))

    async def power(self, call: Call, given: Arguments) -> Any:
        verb = call.method.partition(".")[2]
        await self._backend.ask(ROOT, PowerCommand(0, verb))
        return {"power": verb}

    async def _ctx_call(self, method: str, call: Call) -> Any:
        """Hand the call to ctxgraph over its own socket: its answers and errors are what the caller gets."""
        if METHODS[call.method].streams:
            return call.stream(self._ctx_stream(method, call.params))
        try:
            return await self._ctx.call(method, call.params)
        except Unreachable as error:
            raise _ctx_down(error) from None

    async def _ctx_stream(self, method: str, params: dict[str, Any]) -> AsyncIterator[Any]:
        """A connection of its own, so that a slow reader holds up nobody else's calls."""
        try:
            async with AsyncClient(self._layout.ctx_host_socket) as client:
                async for value in client.stream(method, params):
                    yield value
        except Unreachable as error:
            raise _ctx_down(error) from None


def _ctx_down(error: NullBoxError) -> NullBoxError:
    message = f"ctxgraph does not answer ({error.message}); `nullctl tree` shows what it does"
    return NullBoxError(ErrorCode.UNAVAILABLE, message)


Handler = Callable[[Handlers, Call, Arguments], Awaitable[Any]]

HANDLERS: Mapping[str, Handler] = MappingProxyType(
    {
        "version": Handlers.version,
        "rpc.discover": Handlers.discover,
        "status": Handlers.status,
        "tree": Handlers.show_tree,
        "agent.list": Handlers.agent_list,
        "agent.inspect": Handlers.agent_inspect,
        "agent.start": Handlers.agent_command,
        "agent.stop": Handlers.agent_command,
        "agent.restart": Handlers.agent_command,
        "agent.pause": Handlers.agent_freeze,
        "agent.resume": Handlers.agent_freeze,
        "agent.wait": Handlers.agent_wait,
        "agent.deploy": Handlers.agent_deploy,
        "agent.remove": Handlers.agent_remove,
        "agent.logs": Handlers.agent_logs,
        "events": Handlers.events,
        "egress.rules": Handlers.egress_rules,
        "power.off": Handlers.power,
        "power.reboot": Handlers.power,
    }
)
"""Method → function; the methods of `ctx` are all proxied alike and are not here."""

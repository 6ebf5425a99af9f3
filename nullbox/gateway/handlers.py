"""Serves calls: who may, with which parameters, and by which function; puts changes on record."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any

from nullbox.gateway import serve_agent, serve_ctx, serve_doctor, serve_egress, serve_system, views
from nullbox.gateway.core import Arguments, Core
from nullbox.gateway.methods import METHODS, deadline_of
from nullbox.gateway.roles import Role, Roles
from nullbox.gateway.schema import arguments
from nullbox.protocols.errors import NullBoxError
from nullbox.protocols.jsonrpc import method_not_found
from nullbox.rpc.call import Call

Served = Callable[[Core, Call, Arguments], Awaitable[Any]]

HANDLERS: Mapping[str, Served] = MappingProxyType(
    {
        "version": serve_system.version,
        "rpc.discover": serve_system.discover,
        "status": serve_system.status,
        "doctor": serve_doctor.examine,
        "tree": serve_system.tree,
        "events": serve_system.events,
        "power.off": serve_system.power,
        "power.reboot": serve_system.power,
        "power.reset": serve_system.reset,
        "agent.list": serve_agent.list_all,
        "agent.inspect": serve_agent.inspect,
        "agent.stats": serve_agent.stats,
        "agent.start": serve_agent.command,
        "agent.stop": serve_agent.command,
        "agent.restart": serve_agent.command,
        "agent.pause": serve_agent.freeze,
        "agent.resume": serve_agent.freeze,
        "agent.deploy": serve_agent.deploy,
        "agent.remove": serve_agent.remove,
        "agent.wait": serve_agent.wait,
        "agent.logs": serve_agent.read_logs,
        "egress.rules": serve_egress.rules,
        "egress.explain": serve_egress.explain,
        "egress.log": serve_egress.log,
        "egress.flush_dns": serve_egress.flush_dns,
        "egress.learn": serve_egress.learn,
    }
)
"""Method → function; those of ctxgraph are all handed on alike and are not here."""


class Handlers:
    """`handle` and `deadline` are what `rpc.LineServer` takes."""

    def __init__(self, core: Core, roles: Roles) -> None:
        self._core = core
        self._roles = roles

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
            self._record(call, given, error.code.value)
            raise
        self._record(call, given, "done", value)
        return value

    async def _serve(self, call: Call, given: Arguments) -> Any:
        if call.method.startswith(serve_ctx.PREFIX):
            return await serve_ctx.forward(self._core, call)
        return await HANDLERS[call.method](self._core, call, given)

    def _record(self, call: Call, given: Arguments, result: str, value: Any = None) -> None:
        """Who changed what. The parts of an upload but the last change nothing; ctxgraph has a log of its own."""
        if call.method.startswith(serve_ctx.PREFIX) or given.get("last") is False:
            return
        # Only the answer says whom a deployment deployed.
        name = given.get("name") or given.get("agent") or (value.get("name") if isinstance(value, dict) else None)
        detail: dict[str, Any] = {
            "method": call.method,
            "uid": call.peer.uid,
            "channel": call.peer.channel,
            "result": result,
        }
        self._core.journal.add("command", f"cage:{name}" if name else "", **detail)

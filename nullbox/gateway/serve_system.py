"""Methods about the system as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from nullbox.gateway import machine, views
from nullbox.gateway.backend import ROOT
from nullbox.gateway.core import Arguments, Core
from nullbox.protocols.messages import PowerCommand
from nullbox.rpc.call import Call

REFRESH_PATIENCE = 1.0
"""Seconds for the newest events to be fetched before the journal answers with what it has."""
MOST_EVENTS = 200
"""Events of one answer: tracebacks and all, they fit one message."""


async def version(core: Core, call: Call, given: Arguments) -> Any:
    return machine.versions()


async def discover(core: Core, call: Call, given: Arguments) -> Any:
    from nullbox.gateway import openrpc  # rarely asked for

    return openrpc.document()


async def status(core: Core, call: Call, given: Arguments) -> Any:
    tree, age = await core.tree_soon()
    return views.status(tree, {**core.machine, "uptime_s": machine.uptime(), "memory": machine.memory()}, age)


async def tree(core: Core, call: Call, given: Arguments) -> Any:
    return await core.tree()


async def events(core: Core, call: Call, given: Arguments) -> Any:
    if given["follow"]:
        return call.stream(_follow(core, given["since"]))
    await core.collector.refresh(REFRESH_PATIENCE)
    return core.journal.since(given["since"], min(given["limit"], MOST_EVENTS))


async def _follow(core: Core, since: int) -> AsyncIterator[Any]:
    while True:
        for event in core.journal.since(since)["events"]:
            since = event["seq"]
            yield event
        await core.journal.wait(since)


async def power(core: Core, call: Call, given: Arguments) -> Any:
    verb = call.method.partition(".")[2]
    await core.backend.ask(ROOT, PowerCommand(0, verb))
    return {"power": verb}

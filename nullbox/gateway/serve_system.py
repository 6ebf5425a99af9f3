"""Methods about the system as a whole."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from nullbox.gateway import machine, views
from nullbox.gateway.backend import ROOT
from nullbox.gateway.core import Arguments, Core
from nullbox.protocols.errors import ErrorCode, NullBoxError
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
    facts = {
        **core.machine,
        **machine.records(core.layout),
        "uptime_s": machine.uptime(),
        "memory": machine.memory(),
    }
    return views.status(tree, facts, age)


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


async def reset(core: Core, call: Call, given: Arguments) -> Any:
    """Refused where there is nothing that lasts: a reboot would do the same and ask for less."""
    if given["state"] is not True:
        raise NullBoxError(ErrorCode.INVALID, "power.reset: state is false; allowed: true, the only thing to reset")
    kept = machine.record(core.layout.state_record) or {}
    if not kept.get("device"):
        why = kept.get("detail") or "this system has no STATE partition of its own"
        raise NullBoxError(ErrorCode.WRONG_STATE, f"there is no state to reset: {why}")
    await core.backend.ask(ROOT, PowerCommand(0, "reset"))
    return {"power": "reset", "device": kept["device"]}


async def power(core: Core, call: Call, given: Arguments) -> Any:
    verb = call.method.partition(".")[2]
    await core.backend.ask(ROOT, PowerCommand(0, verb))
    return {"power": verb}

"""Methods about agents."""

from __future__ import annotations

import asyncio
from typing import Any

from nullbox.gateway import logs, views
from nullbox.gateway.backend import ROOT
from nullbox.gateway.core import Arguments, Core
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import CageCommand, ChildCommand
from nullbox.rpc.call import Call

INSPECT_PATIENCE = 5.0
"""Seconds for a cage to say what only it knows; the agent is shown without that after it."""
ANSWERING = frozenset({"running", "paused"})
"""States in which a cage can be asked: before, its peers do not know it; after, it has nothing to say."""
WAIT_STEP = 0.25


async def list_all(core: Core, call: Call, given: Arguments) -> Any:
    return views.agents(await core.tree())


async def inspect(core: Core, call: Call, given: Arguments) -> Any:
    node = await core.agent(given["name"])
    shown = {**views.summary(node), "detail": node.get("detail") or {}, "vm": None}
    if node["state"] not in ANSWERING:
        return shown
    try:
        async with asyncio.timeout(INSPECT_PATIENCE):
            shown["vm"] = await core.backend.ask(node["id"], CageCommand(0, "inspect"))
    except TimeoutError:
        shown["vm_error"] = "the cage does not answer"
    except NullBoxError as error:
        shown["vm_error"] = error.message
    return shown


async def stats(core: Core, call: Call, given: Arguments) -> Any:
    node = await core.agent(given["name"])
    found = None
    if node["state"] in ANSWERING:
        found = await core.backend.ask(node["id"], CageCommand(0, "stats"))
    return {"name": given["name"], "state": node["state"], "restarts": node["restarts_total"], "stats": found}


async def command(core: Core, call: Call, given: Arguments) -> Any:
    """start, stop, restart: the supervisor's business."""
    node = await core.agent(given["name"])
    await core.backend.ask(ROOT, ChildCommand(0, node["id"], call.method.partition(".")[2]))
    return await core.state_of(given["name"])


async def freeze(core: Core, call: Call, given: Arguments) -> Any:
    """pause, resume: the cage's business."""
    verb = call.method.partition(".")[2]
    node = await core.agent(given["name"])
    views.check_state(node, verb)
    answer = await core.backend.ask(node["id"], CageCommand(0, verb))
    state = "paused" if verb == "pause" else "running"
    return {"name": given["name"], "state": state, "confirmed_ms": answer["confirmed_ms"]}


async def deploy(core: Core, call: Call, given: Arguments) -> Any:
    return await core.rollout.deploy(given)


async def remove(core: Core, call: Call, given: Arguments) -> Any:
    await core.agent(given["name"])
    return await core.rollout.remove(given["name"])


async def wait(core: Core, call: Call, given: Arguments) -> Any:
    name, wanted = given["name"], given["for"]
    until = core.clock() + given["timeout"]
    while True:
        now = await core.state_of(name)
        if now["state"] == wanted:
            return now
        left = until - core.clock()
        if left <= 0:
            message = f"agent {name!r} is {now['state']}, not {wanted}, after {given['timeout']:g} s"
            raise NullBoxError(ErrorCode.TIMEOUT, message, {"state": now["state"]})
        await asyncio.sleep(min(WAIT_STEP, left))


async def read_logs(core: Core, call: Call, given: Arguments) -> Any:
    await core.agent(given["name"])
    path = core.layout.agent_log(given["name"])
    tail, since = given["tail"], given["since"]
    if given["follow"] or given["whole"]:
        source = logs.stream(path, tail=tail, since=since, follow=given["follow"])
        return call.stream(source, name=given["name"])
    lines = await asyncio.to_thread(logs.newest, path, tail, since)
    return {"name": given["name"], "lines": [line.plain() for line in lines]}

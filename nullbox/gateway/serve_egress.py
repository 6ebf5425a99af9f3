"""Methods about what agents may reach. Asks the egress actor: `rules`, `explain`, `log`,
`flush_dns`, `learn`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from nullbox.gateway.backend import EGRESS
from nullbox.gateway.core import Arguments, Core
from nullbox.protocols.messages import Query
from nullbox.rpc.call import Call

LOG_STEP = 1.0
"""Seconds between two looks at the denials; egress reads the kernel's record about as often."""


async def rules(core: Core, call: Call, given: Arguments) -> Any:
    await _known(core, given)
    return await core.backend.ask(EGRESS, Query(0, "rules", {"agent": given["agent"]}))


async def explain(core: Core, call: Call, given: Arguments) -> Any:
    await _known(core, given)
    params = {"agent": given["agent"], "target": given["target"]}
    return await core.backend.ask(EGRESS, Query(0, "explain", params))


async def log(core: Core, call: Call, given: Arguments) -> Any:
    await _known(core, given)
    if given["follow"]:
        return call.stream(_follow(core, given["agent"], given["since"]))
    denials = await denials_since(core, given["agent"], given["since"])
    return {"denials": denials, "last_seq": max([given["since"], *(each["seq"] for each in denials)])}


async def denials_since(core: Core, agent: str | None, since: int) -> list[dict[str, Any]]:
    """Denials that changed after number `since`, in the order of their change."""
    found: list[dict[str, Any]] = await core.backend.ask(EGRESS, Query(0, "log", {"since": since, "agent": agent}))
    return found


async def _follow(core: Core, agent: str | None, since: int) -> AsyncIterator[Any]:
    while True:
        for denial in await denials_since(core, agent, since):
            since = max(since, denial["seq"])
            yield denial
        await asyncio.sleep(LOG_STEP)


async def flush_dns(core: Core, call: Call, given: Arguments) -> Any:
    await _known(core, given)
    flushed = await core.backend.ask(EGRESS, Query(0, "flush_dns", {"agent": given["agent"]}))
    return {"agent": given["agent"], "flushed": flushed}


async def learn(core: Core, call: Call, given: Arguments) -> Any:
    await _known(core, given)
    return await core.backend.ask(EGRESS, Query(0, "learn", {"agent": given["agent"], "on": given["on"]}))


async def _known(core: Core, given: Arguments) -> None:
    if given["agent"] is not None:
        await core.agent(given["agent"])

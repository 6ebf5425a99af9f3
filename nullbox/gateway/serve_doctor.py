"""The method `doctor`: gathers facts and lets `doctor` judge them. Effects: reads /proc, /sys, the disk's state."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nullbox.gateway import doctor, machine
from nullbox.gateway.backend import EGRESS
from nullbox.gateway.core import Arguments, Core
from nullbox.protocols.errors import NullBoxError
from nullbox.protocols.messages import Query
from nullbox.rpc.call import Call

PATIENCE = 3.0
"""Seconds for each service to answer."""


async def examine(core: Core, call: Call, given: Arguments) -> Any:
    """Serve `doctor`."""
    findings = doctor.examine(await facts(core))
    return {"healthy": doctor.healthy(findings), "findings": [finding.plain() for finding in findings]}


async def facts(core: Core) -> dict[str, Any]:
    """What the checks look at."""
    egress, ctxgraph = await asyncio.gather(
        _problem("egress", lambda: core.backend.ask(EGRESS, Query(0, "rules", {"agent": None}))),
        _problem("ctxgraph", lambda: _store(core)),
    )
    tree, _ = await core.tree_soon()
    free, total = _space(core.layout.state)
    return {
        **core.machine,
        "tree": tree,
        "egress": egress,
        "ctxgraph": ctxgraph,
        "controllers": machine.controllers(),
        "memory": machine.memory(),
        "state": machine.record(core.layout.state_record),
        "state_dir": str(core.layout.state),
        "disk_free": free,
        "disk_total": total,
        "now": time.time(),
    }


async def _store(core: Core) -> None:
    answer = await core.ctx.call("status")
    if answer.get("failed"):
        raise RuntimeError(str(answer["failed"]))


async def _problem(name: str, question: Callable[[], Awaitable[Any]]) -> str | None:
    """None if it is answered, else why not."""
    try:
        async with asyncio.timeout(PATIENCE):
            await question()
    except TimeoutError:
        return f"{name} did not answer within {PATIENCE:g} s"
    except NullBoxError as error:
        return error.message
    except RuntimeError as error:
        return str(error)
    return None


def _space(folder: Path) -> tuple[int, int]:
    """Bytes free and in all on the disk that holds the folder."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize

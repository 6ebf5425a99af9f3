"""Deploying and removing agents: the folder's part and the supervisor's part, in an order that can be taken back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Any

from nullbox.gateway.backend import ROOT, Backend
from nullbox.gateway.deploy import Deployments
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import ChildCommand


class Rollout:
    """One deployment or removal at a time; uploads may overlap."""

    def __init__(self, backend: Backend, layout: Layout) -> None:
        self._backend = backend
        self._deployments = Deployments(layout)
        self._lock = asyncio.Lock()
        self._deployments.clean()

    async def deploy(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Take one part of an upload; with the last one, deploy it.

        Raises:
            NullBoxError: `invalid`, `too_large`, `conflict` if the agent is there and `replace` is not set, or
                what the supervisor says. The upload is gone then, and the agent is what it was.
        """
        upload = given["upload"]
        received = await asyncio.to_thread(self._deployments.receive, upload, given["files"])
        if not given["last"]:
            return {"received": received}
        try:
            manifest = await asyncio.to_thread(self._deployments.check, upload)
            async with self._lock:
                state = await self._install(upload, manifest.name, given["replace"])
        except BaseException:
            self._deployments.abandon(upload)
            raise
        return {"name": manifest.name, "version": manifest.version, "state": state, "received": received}

    async def remove(self, name: str) -> dict[str, Any]:
        """Stop a deployed agent and delete its folder. One that the image brings comes back in its place.

        Raises:
            NullBoxError: `denied` for an agent of the image, which is read-only.
        """
        if not self._deployments.is_deployed(name):
            message = f"agent {name!r} is part of the image and cannot be removed; `agent stop {name}` stops it"
            raise NullBoxError(ErrorCode.DENIED, message)
        async with self._lock:
            await self._command(name, "remove")
            await asyncio.to_thread(self._deployments.remove, name)
            if self._deployments.is_bundled(name):
                answer = await self._command(name, "add")
                return {"name": name, "state": answer["state"], "bundled": True}
        return {"name": name, "state": "removed"}

    async def _install(self, upload: str, name: str, replace: bool) -> str:
        there = self._deployments.is_deployed(name) or self._deployments.is_bundled(name)
        if there and not replace:
            raise NullBoxError(ErrorCode.CONFLICT, f"there is an agent {name!r} already; replace it with --replace")
        if there:
            with contextlib.suppress(NullBoxError):  # it may not be in the tree, its manifest having been wrong
                await self._command(name, "remove")
        await asyncio.to_thread(self._deployments.place, upload, name)
        try:
            answer = await self._command(name, "add")
        except BaseException:
            await asyncio.to_thread(self._deployments.undo, name)
            if there:
                with contextlib.suppress(NullBoxError):
                    await self._command(name, "add")
            raise
        await asyncio.to_thread(self._deployments.settle, name)
        return str(answer["state"])

    async def _command(self, name: str, verb: str) -> dict[str, Any]:
        answer: dict[str, Any] = await self._backend.ask(ROOT, ChildCommand(0, f"cage:{name}", verb))
        return answer

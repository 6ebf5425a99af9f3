"""Methods of ctxgraph, handed on over its own socket: its answers and errors are what the caller gets."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from nullbox.gateway.core import Core
from nullbox.gateway.methods import METHODS
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.aio import AsyncClient
from nullbox.rpc.call import Call
from nullbox.rpc.client import Unreachable

PREFIX = "ctx."


async def forward(core: Core, call: Call) -> Any:
    """The same call without its prefix, with the parameters as they came."""
    method = call.method.removeprefix(PREFIX)
    if METHODS[call.method].streams:
        return call.stream(_stream(core, method, call.params))
    try:
        return await core.ctx.call(method, call.params)
    except Unreachable as error:
        raise _down(error) from None


async def _stream(core: Core, method: str, params: dict[str, Any]) -> AsyncIterator[Any]:
    """A connection of its own, so that a slow reader holds up nobody else's calls."""
    try:
        async with AsyncClient(core.layout.ctx_host_socket) as client:
            async for value in client.stream(method, params):
                yield value
    except Unreachable as error:
        raise _down(error) from None


def _down(error: NullBoxError) -> NullBoxError:
    message = f"ctxgraph does not answer ({error.message}); `nullctl tree` shows what it does"
    return NullBoxError(ErrorCode.UNAVAILABLE, message)

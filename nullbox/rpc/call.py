"""What a method sees of a request: `Call`, whoever makes it, and the way to answer with a stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.jsonrpc import Request
from nullbox.rpc.limits import Limits


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel says (SO_PEERCRED, SO_PEERGROUPS), never as the message says.

    pid, uid, gid: None where the channel has no such identity (a virtio-serial port, a VM's vsock).
    groups: the supplementary groups.
    channel: the name that the listener was given: `unix`, `virtio-serial`, `vsock`, an agent's name.
    cid: the other machine's context id (vsock(7)); None on other channels.
    """

    pid: int | None = None
    uid: int | None = None
    gid: int | None = None
    groups: frozenset[int] = frozenset()
    channel: str = ""
    cid: int | None = None


@dataclass(frozen=True, slots=True)
class Stream:
    """An answer that goes on: the values of `source` become notifications, one taken when the last is sent.

    opening: members that the answer carries beside the subscription's id.
    """

    source: AsyncIterator[Any]
    opening: dict[str, Any] = field(default_factory=dict)


class Call(NamedTuple):
    """One request, ready to be served. single: it is all that its connection asks now."""

    method: str
    params: dict[str, Any]
    peer: Peer
    notification: bool = False
    single: bool = False

    def stream(self, source: AsyncIterator[Any], **opening: Any) -> Stream:
        """Return this from `handle` to answer with a subscription.

        `source` is pulled only while the client takes what it was sent. It is closed (`aclose`, or cancelled
        in its `await`) when the client cancels or goes away, so its `finally` runs.
        """
        return Stream(source, opening)


Handler = Callable[[Call], Any]
"""Serves a call: returns the result (plain data, or a `Stream`), or raises `NullBoxError`.

What takes time is returned as a `Later`, or by a coroutine function. Any other exception becomes `internal`, and goes
to the log. A coroutine is cancelled at the call's deadline and when the client goes away.
"""

Deadline = Callable[[Call], float]
"""Seconds that a call may take."""

ParameterNames = Callable[[str], Sequence[str] | None]
"""The names of a method's parameters, in order, for clients that send them by position; None: not accepted."""


class Settings(Protocol):
    """What a session takes from its server."""

    handler: Handler
    deadline: Deadline
    names: ParameterNames
    limits: Limits


def by_name(request: Request, names: ParameterNames) -> dict[str, Any]:
    """The parameters of a request as a mapping.

    Raises:
        NullBoxError: `invalid`, they came by position and the method takes none that way, or fewer.
    """
    if isinstance(request.params, dict):
        return request.params
    if not request.params:
        return {}
    order = names(request.method)
    if order is None:
        message = f'{request.method[:100]} takes parameters by name: send an object as "params"'
        raise NullBoxError(ErrorCode.INVALID, message)
    if len(request.params) > len(order):
        message = f"{request.method} takes {len(order)} parameters, not {len(request.params)}"
        raise NullBoxError(ErrorCode.INVALID, message)
    return dict(zip(order, request.params, strict=False))

"""Questions that another thread's event loop asks of actors, and the way back of the answers.

The loop awaits `Bridge.ask`; the actor's thread sends the request and, when `Reply` or `Failure` comes, settles the
waiting future in its loop. A question whose addressee is gone is answered at once, so that nobody waits for the dead.
"""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, replace
from typing import Any

from nullbox.actors.base import BaseActor
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import Address, Failure, Reply


@dataclass(frozen=True, slots=True)
class Pending:
    """One question under way. `target` is the name it was asked under, for messages."""

    target: str
    address: Address
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[Any]


class Bridge:
    """Implements `gateway.backend.Backend` on an actor. All methods but `ask` belong to the actor's thread."""

    def __init__(self, actor: BaseActor, parent_name: str) -> None:
        self._actor = actor
        self._parent_name = parent_name
        self._ids = itertools.count(1)
        self._pending: dict[int, Pending] = {}

    async def ask(self, target: str, message: Any) -> Any:
        """See `Backend.ask`. From any loop; cancelling it drops the question."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        request_id = next(self._ids)
        try:
            self._actor.call_in_actor(self._send, request_id, target, message, loop, future)
        except BlockingIOError as error:
            raise NullBoxError(ErrorCode.UNAVAILABLE, "too many questions wait; try again") from error
        try:
            return await future
        except asyncio.CancelledError:
            self._actor.call_in_actor(self._pending.pop, request_id, None)
            raise

    def settle(self, answer: Reply | Failure) -> None:
        """An answer came. One that nobody waits for any more is dropped."""
        pending = self._pending.pop(answer.request_id, None)
        if pending is None:
            return
        if isinstance(answer, Reply):
            _finish(pending, answer.value)
        else:
            _fail(pending, NullBoxError(ErrorCode(answer.code), answer.message))

    def lost(self, address: Address) -> None:
        """Nothing more will come from there: fail every question it has."""
        self._fail_where(lambda pending: pending.address == address)

    def peers_changed(self) -> None:
        """Fail the questions to children that are no longer among the peers."""
        present = {self._actor.parent, *self._actor.peers.values()}
        self._fail_where(lambda pending: pending.address not in present)

    def _send(
        self, request_id: int, target: str, message: Any, loop: asyncio.AbstractEventLoop, future: asyncio.Future[Any]
    ) -> None:
        address = self._actor.parent if target == self._parent_name else self._actor.peers.get(target)
        if address is None:
            _fail(Pending(target, Address(""), loop, future), _unavailable(target))
            return
        self._pending[request_id] = Pending(target, address, loop, future)
        if not self._actor.tell(address, replace(message, request_id=request_id)):
            # The telling itself may have found that the other is gone, and `lost` have failed the question.
            self._fail_where(lambda pending: pending.future is future)

    def _fail_where(self, chosen: Any) -> None:
        for request_id in [number for number, pending in self._pending.items() if chosen(pending)]:
            pending = self._pending.pop(request_id)
            _fail(pending, _unavailable(pending.target))


def _unavailable(target: str) -> NullBoxError:
    return NullBoxError(ErrorCode.UNAVAILABLE, f"{target} does not run now; `nullctl tree` says why")


def _finish(pending: Pending, value: Any) -> None:
    _in_loop(pending, lambda: None if pending.future.done() else pending.future.set_result(value))


def _fail(pending: Pending, error: NullBoxError) -> None:
    _in_loop(pending, lambda: None if pending.future.done() else pending.future.set_exception(error))


def _in_loop(pending: Pending, settle: Any) -> None:
    try:
        pending.loop.call_soon_threadsafe(settle)
    except RuntimeError:  # the loop is closed: nobody waits any more
        return

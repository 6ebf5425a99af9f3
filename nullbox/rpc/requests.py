"""The requests of one connection that are under way, and how each gets its answer.

A handler may have the result at once, have it later (`Later`), or be a coroutine. The first two need no task: a task
with its deadline costs about as much as reading and answering a small request.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any

from nullbox.protocols import jsonrpc
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.jsonrpc import Batch, Invalid, Request
from nullbox.rpc.answers import Answer
from nullbox.rpc.call import Call, Peer, Settings, Stream, by_name
from nullbox.rpc.eager import eager_task
from nullbox.rpc.later import Later
from nullbox.rpc.subscriptions import Opened, Subscriptions

log = logging.getLogger(__name__)


class Requests:
    """See the module. To be used in one loop.

    send: takes an answer, or those of a batch.
    idle: called when an answer went out and nothing is under way any more.
    under_way: requests that have no answer yet; members of a batch count one each.
    """

    def __init__(
        self,
        settings: Settings,
        streams: Subscriptions,
        send: Callable[[Answer], None],
        idle: Callable[[], None],
    ) -> None:
        self.under_way = 0
        self._settings = settings
        self._streams = streams
        self._send = send
        self._idle = idle
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._epoch = 0
        self._expected: deque[tuple[float, Later, str, float]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    def begin(self, message: Request | Batch, peer: Peer, *, last: bool = False) -> None:
        """Serve what came in one line, on behalf of `peer`. last: no other line of its came yet."""
        if isinstance(message, Batch):
            self._begin(self._batch(message, peer), len(message.items))
        else:
            self._one(message, peer, single=last and not self.under_way)

    def drop(self) -> None:
        """Nobody wants the answers any more: cancel what can be cancelled, send nothing of the rest."""
        self._epoch += 1
        self.under_way = 0
        self._expected.clear()
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        for task in list(self._tasks):
            task.cancel()

    # --- one request ----------------------------------------------------------------------------------------

    def _one(self, request: Request, peer: Peer, *, single: bool) -> None:
        call, outcome = self._ask(request, peer, single=single)
        if isinstance(outcome, Later):
            self._expect(request, call, outcome)
        elif isinstance(outcome, Stream) or hasattr(outcome, "__await__"):
            self._begin(self._awaited(request, call, outcome), 1, outcome)
        elif not request.notification:
            self._send(_answer(request.id, outcome))

    def _expect(self, request: Request, call: Call, later: Later) -> None:
        seconds = self._settings.deadline(call)
        expected = self._expected
        while expected and expected[0][1].settled:
            expected.popleft()
        due = self._loop.time() + seconds
        expected.append((due, later, call.method, seconds))
        if self._alarm is None or due < self._alarm.when():
            self._ring(due)
        epoch = self._epoch
        self.under_way += 1

        def take(outcome: Any) -> None:
            if epoch == self._epoch:
                self.under_way -= 1
                if not request.notification:
                    self._send(_answer(request.id, outcome))
                if not self.under_way:
                    self._idle()

        later.then(take)

    def _look(self) -> None:
        """Settle what is overdue, and look again when the next may be. (One timer for all: a timer each costs more than
        the rest of waiting.)"""
        self._alarm = None
        now = self._loop.time()
        waiting = [each for each in self._expected if not each[1].settled]
        self._expected.clear()
        for due, later, method, seconds in waiting:
            if due <= now:
                later.settle(_late(method, seconds))
            else:
                self._expected.append((due, later, method, seconds))
        if self._expected:
            self._ring(min(due for due, *_ in self._expected))

    def _ring(self, at: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_at(at, self._look)

    async def _awaited(self, request: Request, call: Call, outcome: Any) -> None:
        answer, stream = await self._finish(request, call, outcome)
        if not request.notification:
            self._send(answer)
        self._streams.start(stream)

    # --- a batch --------------------------------------------------------------------------------------------

    async def _batch(self, batch: Batch, peer: Peer) -> None:
        done = await asyncio.gather(*(self._member(item, peer) for item in batch.items))
        answers = [answer for answer, _ in done if answer is not None]
        if answers:
            self._send(answers)
        for _, stream in done:
            self._streams.start(stream)

    async def _member(self, item: Request | Invalid, peer: Peer) -> tuple[dict[str, Any] | None, Opened | None]:
        if isinstance(item, Invalid):
            return jsonrpc.failure(item.id, item.error), None
        answer, stream = await self._finish(item, *self._ask(item, peer))
        return (None if item.notification else _decoded(answer)), stream

    # --- what both do ---------------------------------------------------------------------------------------

    def _ask(self, request: Request, peer: Peer, *, single: bool = False) -> tuple[Call, Any]:
        """The call, and what the handler returned or the error that it raised."""
        try:
            call = Call(request.method, by_name(request, self._settings.names), peer, request.notification, single)
        except NullBoxError as error:
            return Call(request.method, {}, peer, request.notification), error
        try:
            if request.method == jsonrpc.STREAM_CANCEL:
                return call, self._streams.cancel(call.params)
            return call, self._settings.handler(call)
        except NullBoxError as error:
            return call, error
        except Exception:
            return call, _failed(request.method)

    async def _finish(self, request: Request, call: Call, outcome: Any) -> tuple[dict[str, Any], Opened | None]:
        """Wait for the outcome where it is not there yet. A stream is opened, and starts after its answer."""
        opened: Opened | None = None
        try:
            if hasattr(outcome, "__await__"):
                seconds = self._settings.deadline(call)
                try:
                    async with asyncio.timeout(seconds):
                        outcome = await outcome
                except TimeoutError:
                    raise _late(call.method, seconds) from None
            if isinstance(outcome, Stream):
                opened = await self._streams.open(outcome, request.notification)
                outcome = {**outcome.opening, "subscription": opened.id}
        except NullBoxError as error:
            outcome = error
        except Exception:
            outcome = _failed(request.method)
        return _answer(request.id, outcome), opened

    def _begin(self, work: Coroutine[Any, Any, None], count: int, outcome: Any = None) -> None:
        """outcome: a coroutine that `work` waits for, and will not if it is cancelled before it has begun."""
        epoch = self._epoch
        self.under_way += count
        task = eager_task(self._loop, work)
        self._tasks.add(task)

        def done(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            if isinstance(outcome, Coroutine):
                outcome.close()
            if not task.cancelled() and (error := task.exception()) is not None:
                log.error("a session task failed", exc_info=error)
            if epoch == self._epoch:
                self.under_way -= count
                if not self.under_way:
                    self._idle()

        if task.done():
            done(task)
        else:
            task.add_done_callback(done)


def _decoded(answer: dict[str, Any]) -> dict[str, Any]:
    """As a member of a batch, which is encoded as a whole."""
    if type(answer.get("result")) is jsonrpc.Encoded:
        return {**answer, "result": json.loads(answer["result"].text)}
    return answer


def _answer(id: jsonrpc.RequestId, outcome: Any) -> dict[str, Any]:
    if isinstance(outcome, NullBoxError):
        return jsonrpc.failure(id, outcome)
    return jsonrpc.result(id, outcome)


def _late(method: str, seconds: float) -> NullBoxError:
    return NullBoxError(ErrorCode.TIMEOUT, f"{method} was not done within {seconds:g} s")


def _failed(method: str) -> NullBoxError:
    log.exception("%s failed", method[:100])
    return NullBoxError(ErrorCode.INTERNAL, f"{method[:100]} failed inside; the log says why")

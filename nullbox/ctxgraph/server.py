"""What the methods of ctxgraph work with: the open store, in asyncio. Effects: threads, reads and writes the store.

`handle` plugs into a `rpc.server.LineServer`. Who is calling is known by the channel the call came in by: each
agent's VM has a socket of its own, the gateway has the host's. Nothing in a message can change that.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from types import CoroutineType
from typing import Any, TypeVar

from nullbox.ctxgraph.access import Rights
from nullbox.ctxgraph.batch import Ack, Erase, Op
from nullbox.ctxgraph.company import Company
from nullbox.ctxgraph.denials import Denials
from nullbox.ctxgraph.params import Params
from nullbox.ctxgraph.pool import ReaderPool
from nullbox.ctxgraph.quota import Limits, TokenBucket
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.store import Store, default_limits
from nullbox.ctxgraph.watch import Watches
from nullbox.ctxgraph.writer import Done, GroupWriter
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.jsonrpc import Encoded, method_not_found
from nullbox.rpc.call import Call
from nullbox.rpc.later import Later

T = TypeVar("T")

QUICK_THREADS = 2
SLOW_THREADS = 2
"""Threads for queries, and for what may take long (search, audit, export), so that the one never waits for the
other. Single reads are answered in the loop."""
WRITES_PER_AGENT = 256
"""Writes of one agent that may wait for the disk; more are refused."""
AGENT_SECONDS = 2.0
"""A query may run for so long."""


Method = Callable[["CtxServer", Rights, Params, Call], Any]
"""Serves one method: reads its parameters, checks the rights, returns what the client gets (`rpc.call.Handler`)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Who waits for an operation, and gets what its acknowledgement says.

    call: that of an erasure, the one operation that the store itself may deny to an agent.
    """

    agent: str
    later: Later
    call: Call | None


class CtxServer:
    """Answers calls on an open store. Make and use it in one running loop; `close` it there.

    methods: name on the wire → what serves it (`methods.METHODS`).
    limits: quota of an agent, None for none. The store holds the quotas on size; the rate is held here.
    """

    def __init__(
        self,
        store: Store,
        methods: Mapping[str, Method],
        *,
        limits: Callable[[str], Limits | None] = default_limits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._monotonic = monotonic
        self._rights: dict[str, Rights] = {}
        self._buckets: dict[str, TokenBucket | None] = {}
        self._waiting: Counter[str] = Counter()
        self._company = Company()
        self._alone = False
        self._methods = methods
        self.store = store
        self.denials = Denials()
        self._chores: set[asyncio.Future[Any]] = set()
        self.writer = GroupWriter(store, self._deliver, self._writer_died)
        self._reader = Reader(store.path)
        self._quick = ReaderPool(store.path, "query", QUICK_THREADS, AGENT_SECONDS)
        self._slow = ReaderPool(store.path, "slow", SLOW_THREADS, AGENT_SECONDS)
        self.with_reader = self._quick.run
        self.with_slow_reader = self._slow.run
        self.watches = Watches(store.size, self.with_reader)
        self.writer.start()

    # --- identity -------------------------------------------------------------------------------------------

    def grant(self, channel: str, rights: Rights) -> None:
        """Calls that come in by `channel` have these rights, from now on."""
        self._rights[channel] = rights

    def revoke(self, channel: str) -> None:
        """Calls that come in by `channel` are refused."""
        self._rights.pop(channel, None)

    # --- calls ----------------------------------------------------------------------------------------------

    def handle(self, call: Call) -> Any:
        """Serve one call (`rpc.call.Handler`): a row or a refusal at once, everything else later."""
        rights = self._rights.get(call.peer.channel)
        if rights is None:
            message = f"the channel {call.peer.channel!r} is not open; the agent was removed"
            raise NullBoxError(ErrorCode.DENIED, message)
        method = self._methods.get(call.method)
        if method is None:
            raise method_not_found(call.method, f"ctxgraph has {', '.join(self._methods)}")
        self._alone = self._company.alone(call.peer, self._monotonic()) and call.single
        try:
            outcome = method(self, rights, Params(call.method, call.params), call)
        except NullBoxError as error:
            self._note(call, error)
            raise
        return self._noting(call, outcome) if type(outcome) is CoroutineType else outcome

    async def _noting(self, call: Call, work: Coroutine[Any, Any, Any]) -> Any:
        try:
            return await work
        except NullBoxError as error:
            self._note(call, error)
            raise

    def _note(self, call: Call, error: NullBoxError) -> None:
        if error.code is ErrorCode.DENIED and "quota" not in error.data:
            self.denials.add(call.peer.channel, call.method, call.params, error.message, time.time())

    def commit(self, call: Call, op: Op) -> Encoded | Later:
        """Commit an operation; its acknowledgement, as clients get it, once it is durable. It cannot be taken back.

        To be called in the same turn as `handle`. Usually the operation is queued. Where nobody else is waiting
        (`company` says when) the commit is made here and now, and the loop stands still for it.

        Raises:
            NullBoxError: what the store says to it, if it does so now; `unavailable`, too many of this agent's are
                waiting, or the store takes none.
        """
        if self._alone:
            outcome = self.writer.at_once(op)
            if outcome is not None:
                if isinstance(outcome, NullBoxError):
                    raise outcome
                self.watches.advance(outcome.seq)
                return _acknowledged(outcome)
        agent = call.peer.channel
        if self._waiting[agent] >= WRITES_PER_AGENT:
            message = f"{WRITES_PER_AGENT} writes of {agent!r} wait for the disk; wait for answers first"
            raise NullBoxError(ErrorCode.UNAVAILABLE, message)
        later = Later()
        self.writer.submit(op, Waiting(agent, later, call if isinstance(op, Erase) else None))
        self._waiting[agent] += 1
        return later

    async def in_writer(self, work: Callable[[Store], T]) -> T:
        """Run `work` in the writer's thread, between two groups.

        Raises:
            NullBoxError: `unavailable`, that thread is dead. And what `work` raises.
        """
        future: asyncio.Future[T] = self._loop.create_future()

        def chore() -> None:
            try:
                value = work(self.store)
            except Exception as error:
                self._loop.call_soon_threadsafe(_fail, future, error)
            else:
                self._loop.call_soon_threadsafe(_resolve, future, value)

        self.writer.run(chore)
        self._chores.add(future)
        try:
            return await future
        finally:
            self._chores.discard(future)

    async def close(self) -> None:
        """Finish the writes that are queued, end the watches, close the store."""
        self.watches.close()
        stopped = await asyncio.to_thread(self.writer.stop)
        await self._quick.close()
        await self._slow.close()
        self._reader.close()
        if stopped:
            self.store.close()

    def take_token(self, rights: Rights) -> None:
        """Hold the rate of an agent's writes. Raises NullBoxError `denied`."""
        agent = rights.agent_id
        if agent not in self._buckets:
            limits = self._limits(agent)
            bucket = TokenBucket(limits.rate, limits.burst, self._monotonic()) if limits else None
            self._buckets[agent] = bucket
        bucket = self._buckets[agent]
        if bucket is not None:
            bucket.take(agent, self._monotonic())

    def fast_reader(self) -> Reader:
        """For reads of one row, which are cheaper than a hop to a thread."""
        return self._reader

    def _deliver(self, done: Sequence[Done]) -> None:
        self._loop.call_soon_threadsafe(self._delivered, done)

    def _writer_died(self, error: NullBoxError) -> None:
        self._loop.call_soon_threadsafe(self._fail_chores, error)

    def _fail_chores(self, error: NullBoxError) -> None:
        for future in tuple(self._chores):
            _fail(future, error)

    def _delivered(self, done: Sequence[Done]) -> None:
        last = 0
        for waiting, outcome in done:
            if type(outcome) is Ack and outcome.changed:
                last = outcome.seq
            if waiting is not None:
                self._waiting[waiting.agent] -= 1
                if waiting.call is not None and isinstance(outcome, NullBoxError):
                    self._note(waiting.call, outcome)
                waiting.later.settle(_acknowledged(outcome) if type(outcome) is Ack else outcome)
        if last:
            self.watches.advance(last)


def _acknowledged(ack: Ack) -> Encoded:
    """What a client gets for a write."""
    return Encoded(b'{"hash":"%b","seq":%d,"ts_ns":%d}' % (ack.hash.hex().encode(), ack.seq, ack.ts_ns))


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)

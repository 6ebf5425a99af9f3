"""The methods of ctxgraph, served by asyncio. Effects: queues writes, reads the store; no sockets of its own.

`handle` plugs into a `rpc.server.LineServer`. Who is calling is known by the channel the call came in by: each
agent's VM has a socket of its own, the gateway has the host's. Nothing in a message can change that.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from types import MappingProxyType
from typing import Any, TypeVar

from nullbox.ctxgraph.access import Rights
from nullbox.ctxgraph.batch import ANYTHING, Ack, Delete, Erase, Expected, Op, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import (
    check_agent_id,
    check_key,
    check_prefix,
    entry_hash,
    envelop,
    parents_of,
    parse_hash,
)
from nullbox.ctxgraph.params import Params
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.quota import Limits, TokenBucket
from nullbox.ctxgraph.reader import MAX_PAGE, NEVER, Reader
from nullbox.ctxgraph.store import Outcome, Store, default_limits
from nullbox.ctxgraph.watch import Watches
from nullbox.ctxgraph.writer import Done, GroupWriter
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.call import Call

T = TypeVar("T")

POOL = 2
"""Threads for queries; single reads are answered in the loop."""
MAX_TTL_S = 10 * 366 * 86400.0


class CtxServer:
    """Answers calls on an open store. Make and use it in one running loop; `close` it there.

    limits: quota of an agent, None for none. The store holds the quotas on size; the rate is held here.
    """

    def __init__(
        self,
        store: Store,
        *,
        limits: Callable[[str], Limits | None] = default_limits,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._limits = limits
        self._monotonic = monotonic
        self._rights: dict[str, Rights] = {}
        self._buckets: dict[str, TokenBucket | None] = {}
        self.store = store
        self.writer = GroupWriter(store, self._deliver)
        self._reader = Reader(store.path)
        self._readers: SimpleQueue[Reader] = SimpleQueue()
        self._all_readers = [Reader(store.path, cache_kib=2048) for _ in range(POOL)]
        for reader in self._all_readers:
            self._readers.put(reader)
        self._pool = ThreadPoolExecutor(POOL, thread_name_prefix="ctxgraph-reader")
        self.watches = Watches(store.size, self.with_reader)
        self.writer.start()

    # --- identity -------------------------------------------------------------------------------------------

    def grant(self, channel: str, rights: Rights) -> None:
        """Calls that come in by `channel` have these rights, from now on."""
        self._rights[channel] = rights

    def revoke(self, channel: str) -> None:
        self._rights.pop(channel, None)
        self._buckets.pop(channel, None)

    # --- calls ----------------------------------------------------------------------------------------------

    async def handle(self, call: Call) -> Any:
        """Serve one call (`rpc.call.Handler`)."""
        rights = self._rights.get(call.peer.channel)
        if rights is None:
            message = f"the channel {call.peer.channel!r} is not open; the agent was removed"
            raise NullBoxError(ErrorCode.DENIED, message)
        method = METHODS.get(call.method)
        if method is None:
            known = ", ".join(METHODS)
            message = f"ctxgraph has no method {call.method[:40]!r}; it has {known}"
            raise NullBoxError(ErrorCode.NOT_FOUND, message)
        return await method(self, rights, Params(call.method, call.params), call)

    async def commit(self, op: Op) -> Ack:
        """Queue an operation and wait until it is durable. Cancelling the wait does not take the operation back."""
        future: asyncio.Future[Ack] = self._loop.create_future()
        self.writer.submit(op, future)
        return await future

    async def with_reader(self, work: Callable[[Reader], T]) -> T:
        """Run `work` in a thread with a reader of its own."""
        return await self._loop.run_in_executor(self._pool, self._borrow, work)

    async def in_writer(self, work: Callable[[Store], T]) -> T:
        """Run `work` in the writer's thread, between two groups."""
        future: asyncio.Future[T] = self._loop.create_future()

        def chore() -> None:
            try:
                value = work(self.store)
            except Exception as error:
                self._loop.call_soon_threadsafe(_fail, future, error)
            else:
                self._loop.call_soon_threadsafe(_resolve, future, value)

        self.writer.run(chore)
        return await future

    async def close(self) -> None:
        """Finish the writes that are queued, end the watches, close the store."""
        self.watches.close()
        stopped = await asyncio.to_thread(self.writer.stop)
        self._pool.shutdown(wait=True)
        for reader in [self._reader, *self._all_readers]:
            reader.close()
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

    def _borrow(self, work: Callable[[Reader], T]) -> T:
        reader = self._readers.get()
        try:
            return work(reader)
        finally:
            self._readers.put(reader)

    def _deliver(self, done: Sequence[Done]) -> None:
        self._loop.call_soon_threadsafe(self._delivered, done)

    def _delivered(self, done: Sequence[Done]) -> None:
        last = 0
        for future, outcome in done:
            if isinstance(outcome, Ack) and outcome.changed:
                last = outcome.seq
            if future is not None:
                _settle(future, outcome)
        if last:
            self.watches.advance(last)


def _settle(future: asyncio.Future[Ack], outcome: Outcome) -> None:
    if isinstance(outcome, Ack):
        _resolve(future, outcome)
    else:
        _fail(future, outcome)


def _resolve(future: asyncio.Future[Any], value: Any) -> None:
    if not future.done():
        future.set_result(value)


def _fail(future: asyncio.Future[Any], error: Exception) -> None:
    if not future.done():
        future.set_exception(error)


# --- the methods --------------------------------------------------------------------------------------------


async def _write(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    key = check_key(params.any("key"))
    value = params.any("value")
    expected = _expected(params)
    ttl_s = params.optional("ttl_s")
    parents = params.optional("parents")
    params.done()
    rights.check_write(key)
    server.take_token(rights)
    if parents is not None:
        value = envelop(value, parents)
    named = parents_of(value)
    text = canonical(value)
    op = Write(
        rights.agent_id,
        key,
        entry_hash(rights.agent_id, key, text),
        text,
        expected,
        _ttl_ns(ttl_s),
        tuple(bytes.fromhex(parent) for parent in named),
    )
    return _acknowledged(await server.commit(op))


async def _delete(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    key = check_key(params.any("key"))
    expected = _expected(params)
    params.done()
    rights.check_write(key)
    server.take_token(rights)
    return _acknowledged(await server.commit(Delete(rights.agent_id, key, expected)))


async def _erase(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    address = parse_hash(params.any("hash"))
    params.done()
    server.take_token(rights)
    return _acknowledged(await server.commit(Erase(rights.agent_id, address)))


async def _read(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    address = parse_hash(params.any("hash"))
    params.done()
    entry = server.fast_reader().read(address)
    rights.check_read(entry.key)
    return entry.to_json()


async def _latest(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    key = check_key(params.any("key"))
    as_of = params.integer("as_of", NEVER, 0, NEVER)
    params.done()
    rights.check_read(key)
    return server.fast_reader().latest(key, as_of).to_json()


async def _query(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    prefix = check_prefix(params.text("prefix", ""))
    as_of = params.integer("as_of", NEVER, 0, NEVER)
    window, limit = _window(params)
    params.done()
    prefixes = rights.readable(prefix)
    page = await server.with_reader(lambda reader: reader.query(prefixes, window, limit, as_of=as_of))
    return page.to_json()


async def _history(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    key = check_key(params.any("key"))
    window, limit = _window(params)
    params.done()
    rights.check_read(key)
    return (await server.with_reader(lambda reader: reader.history(key, window, limit))).to_json()


async def _by_agent(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    agent = check_agent_id(params.text("agent_id"))
    window, limit = _window(params)
    params.done()
    prefixes = rights.read
    return (await server.with_reader(lambda reader: reader.by_agent(agent, prefixes, window, limit))).to_json()


async def _agents(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    params.done()
    rights.check_whole_log("the list of agents")
    return {"agents": await server.with_reader(lambda reader: reader.agents())}


async def _search(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    text = params.text("text")
    prefix = check_prefix(params.text("prefix", ""))
    limit = params.integer("limit", 20, 1, 100)
    params.done()
    prefixes = rights.readable(prefix)
    while await server.in_writer(lambda store: store.index(1000)):
        pass
    found = await server.with_reader(lambda reader: reader.search(text, prefixes, limit))
    return {"entries": [entry.to_json() for entry in found]}


async def _watch(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    prefix = check_prefix(params.text("prefix", ""))
    since = params.integer("since_seq", server.watches.head, 0, NEVER)
    params.done()
    source: AsyncIterator[Any] = server.watches.follow(rights.readable(prefix), since)
    return call.stream(source, since_seq=since)


async def _status(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    params.done()
    rights.check_whole_log("the status of the store")
    size, root, searchable = await server.with_reader(lambda reader: reader.state())
    failed = server.store.failed
    return {
        "size": size,
        "root": root.hex(),
        "searchable": searchable,
        "path": str(Path(server.store.path)),
        "failed": failed.message if failed else None,
    }


Method = Callable[[CtxServer, Rights, Params, Call], Awaitable[Any]]

METHODS: Mapping[str, Method] = MappingProxyType(
    {
        "write": _write,
        "read": _read,
        "query": _query,
        "history": _history,
        "latest": _latest,
        "by_agent": _by_agent,
        "watch": _watch,
        "search": _search,
        "delete": _delete,
        "erase": _erase,
        "agents": _agents,
        "status": _status,
    }
)
"""Name on the wire → what serves it."""


def _expected(params: Params) -> Expected:
    if "expected_head" not in params:
        return ANYTHING
    value = params.any("expected_head")
    return None if value is None else parse_hash(value, "expected_head")


def _ttl_ns(seconds: Any) -> int:
    if seconds is None:
        return 0
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= MAX_TTL_S:
        shown = repr(seconds)[:40]
        message = f'write: "ttl_s" must be seconds above 0, at most {MAX_TTL_S:.0f}, not {shown}'
        raise NullBoxError(ErrorCode.INVALID, message)
    return max(1, round(seconds * 1e9))


def _window(params: Params) -> tuple[Window, int]:
    """`after` is the cursor in the direction of travel: with `order: desc` the page goes on below it."""
    order = params.choice("order", ("asc", "desc"))
    cursor = params.integer("after", -1, 0, NEVER)
    limit = params.integer("limit", 100, 1, MAX_PAGE)
    if order == "asc":
        return Window(max(cursor, 0), NEVER), limit
    return Window(0, NEVER if cursor < 0 else cursor, newest_first=True), limit


def _acknowledged(ack: Ack) -> dict[str, Any]:
    return {"hash": ack.hash.hex(), "seq": ack.seq, "ts_ns": ack.ts_ns}

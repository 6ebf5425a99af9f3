"""The methods of ctxgraph, by name: parameters, rights, and which part of the store answers.

What each means for users is in docs/design/ctxgraph.md. Parameters go by name; unknown ones are refused.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from types import MappingProxyType
from typing import Any

from nullbox.ctxgraph.access import Rights
from nullbox.ctxgraph.batch import ANYTHING, Delete, Erase, Expected, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import (
    Entry,
    check_agent_id,
    check_key,
    check_prefix,
    check_text,
    entry_hash,
    entry_text,
    envelop,
    parents_of,
    parse_hash,
)
from nullbox.ctxgraph.evidence import audit, consistency, prove, root_at
from nullbox.ctxgraph.graph import DIRECTIONS, MAX_DEPTH, MAX_NODES, walk
from nullbox.ctxgraph.lines import check_line, read_line, read_start
from nullbox.ctxgraph.params import Params
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.reader import MAX_PAGE, NEVER, Page, Reader
from nullbox.ctxgraph.restore import restore
from nullbox.ctxgraph.server import CtxServer, Method
from nullbox.ctxgraph.transfer import export_lines, header
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.jsonrpc import Encoded
from nullbox.rpc.call import Call
from nullbox.rpc.later import Later

MAX_TTL_S = 10 * 366 * 86400.0


def _write(server: CtxServer, rights: Rights, params: Params, call: Call) -> Encoded | Later:
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
    return server.commit(call, op)


def _delete(server: CtxServer, rights: Rights, params: Params, call: Call) -> Encoded | Later:
    key = check_key(params.any("key"))
    expected = _expected(params)
    params.done()
    rights.check_write(key)
    server.take_token(rights)
    return server.commit(call, Delete(rights.agent_id, key, expected))


def _erase(server: CtxServer, rights: Rights, params: Params, call: Call) -> Encoded | Later:
    address = parse_hash(params.any("hash"))
    params.done()
    server.take_token(rights)
    return server.commit(call, Erase(rights.agent_id, address))


def _read(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    address = parse_hash(params.any("hash"))
    params.done()
    entry = server.fast_reader().read(address)
    rights.check_read(entry.key)
    return Encoded(entry_text(entry))


def _latest(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    key = check_key(params.any("key"))
    as_of = params.integer("as_of", NEVER, 0, NEVER)
    params.done()
    rights.check_read(key)
    return Encoded(entry_text(server.fast_reader().latest(key, as_of)))


async def _query(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    prefix = check_prefix(params.text("prefix", ""))
    as_of = params.integer("as_of", NEVER, 0, NEVER)
    window, limit = _window(params)
    params.done()
    prefixes = rights.readable(prefix)
    return await server.with_reader(rights, lambda reader: shown(reader.query(prefixes, window, limit, as_of=as_of)))


async def _history(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    key = check_key(params.any("key"))
    window, limit = _window(params)
    params.done()
    rights.check_read(key)
    return await server.with_reader(rights, lambda reader: shown(reader.history(key, window, limit)))


async def _by_agent(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    agent = check_agent_id(params.text("agent_id"))
    window, limit = _window(params)
    params.done()
    prefixes = rights.read
    return await server.with_reader(rights, lambda reader: shown(reader.by_agent(agent, prefixes, window, limit)))


async def _agents(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    params.done()
    rights.check_whole_log("the list of agents")
    return {"agents": await server.with_reader(rights, lambda reader: reader.agents())}


async def _search(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    text = check_text("text", params.any("text"))
    prefix = check_prefix(params.text("prefix", ""))
    limit = params.integer("limit", 20, 1, 100)
    params.done()
    prefixes = rights.readable(prefix)
    while await server.in_writer(lambda store: store.index(1000)):
        pass
    found = await server.with_slow_reader(rights, lambda reader: reader.search(text, prefixes, limit))
    return {"entries": [entry.to_json() for entry in found]}


def _watch(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    prefix = check_prefix(params.text("prefix", ""))
    since = params.integer("since_seq", server.watches.head, 0, NEVER)
    params.done()
    source: AsyncIterator[Any] = server.watches.follow(rights, rights.readable(prefix), since)
    return call.stream(source, since_seq=since)


async def _status(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    params.done()
    rights.check_whole_log("the status of the store")
    size, root, searchable = await server.with_reader(rights, lambda reader: reader.state())
    failed = server.store.failed
    return {
        "size": size,
        "root": root.hex(),
        "searchable": searchable,
        "path": str(server.store.path),
        "failed": failed.message if failed else None,
    }


async def _graph(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    start = parse_hash(params.any("hash"))
    direction = params.choice("direction", DIRECTIONS)
    depth = params.integer("depth", 10, 1, MAX_DEPTH)
    limit = params.integer("limit", 200, 1, MAX_NODES)
    params.done()
    return await server.with_reader(rights, lambda reader: walk(reader, rights, start, direction, depth, limit))


async def _root(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    size = _size(params, "size")
    params.done()
    return await server.with_reader(rights, lambda reader: root_at(reader, size))


async def _prove(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    size = _size(params, "size")
    seq = params.integer("seq", 0, 1, NEVER)
    address = None if seq else parse_hash(params.any("hash"))
    params.done()
    if address is not None:
        seq = server.fast_reader().read(address).seq
    proof = await server.with_reader(rights, lambda reader: prove(reader, seq, size))
    rights.check_read(proof["record"]["key"])
    return proof


async def _consistency(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    size = params.integer("size", None, 0, NEVER)
    root = params.text("root", "")
    new_size = _size(params, "new_size")
    params.done()
    return await server.with_reader(rights, lambda reader: consistency(reader, size, root or None, new_size))


async def _verify(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    params.done()
    rights.check_whole_log("verify")
    return await server.with_slow_reader(rights, audit)


async def _export(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    prefix = check_prefix(params.text("prefix", ""))
    proofs = params.flag("proofs")
    params.done()
    rights.check_whole_log("export")

    async def lines() -> AsyncIterator[Any]:
        start = await server.with_slow_reader(rights, lambda reader: header(reader, [prefix]))
        yield start
        after: int | None = 0
        while after is not None:
            found, after = await server.with_slow_reader(
                rights,
                lambda reader, cursor=after: export_lines(reader, start, cursor, proofs=proofs),  # type: ignore[misc]
            )
            for line in found:
                yield line

    return call.stream(lines())


async def _import(server: CtxServer, rights: Rights, params: Params, call: Call) -> Any:
    start = read_start(params.any("start"))
    lines = params.any("lines")
    params.done()
    rights.check_whole_log("import")
    if not isinstance(lines, list):
        raise NullBoxError(ErrorCode.INVALID, 'import: "lines" must be a list of lines of an export')

    def checked(_reader: Reader) -> list[Entry]:
        read = [read_line(line) for line in lines]
        for line in read:
            check_line(start, line)
        return [line.entry for line in read]

    entries = await server.with_slow_reader(rights, checked)
    done = await server.in_writer(lambda store: restore(store, entries))
    server.watches.advance(done["size"])
    return done


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
        "graph": _graph,
        "root": _root,
        "prove": _prove,
        "consistency": _consistency,
        "verify": _verify,
        "export": _export,
        "import": _import,
        "status": _status,
    }
)
"""Name on the wire → what serves it."""


def shown(page: Page) -> Encoded:
    """A page as clients get it."""
    following = "null" if page.next is None else str(page.next)
    entries = b",".join(map(entry_text, page.entries))
    return Encoded(b'{"entries":[%b],"next":%b}' % (entries, following.encode()))


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


def _size(params: Params, name: str) -> int | None:
    size = params.integer(name, -1, 0, NEVER)
    return None if size < 0 else size

"""The methods of ctxgraph as the gateway offers them: the same names and parameters, behind `ctx.`. Pure data."""

from __future__ import annotations

from nullbox.gateway.method import QUICK, Method
from nullbox.gateway.roles import Role
from nullbox.gateway.schema import Param

AUDIT = 300.0
"""Seconds for what reads the whole store."""

KEY = Param("key", "key", "the key", required=True)
HASH = Param("hash", "hash", "the entry's hash", required=True)
PREFIX = Param("prefix", "prefix", "how the keys begin; empty for all", default="")
WINDOW = (
    Param("limit", "count", "at most this many; a page may hold fewer"),
    Param("after", "seq", "go on from there: the `next` of the page before, null on the last one"),
    Param("order", "order", "asc: oldest first; desc: newest first", default="asc"),
)
AS_OF = Param("as_of", "seq", "the store as it was after this number")
SIZE = Param("size", "seq", "the log's length at that time; default: now")
EXPECTED = Param("expected_head", "value", "only if this hash is the key's latest; null: if it has none")
ENTRY = "{hash, agent_id, key, value, seq, ts_ns}"
PAGE = "{entries: [{hash, agent_id, key, value, seq, ts_ns}], next}"
DONE = "{hash, seq, ts_ns}"


def _ctx(
    name: str,
    summary: str,
    result: str,
    *params: Param,
    role: Role = Role.READER,
    streams: bool = False,
    deadline: float = QUICK,
) -> Method:
    return Method(f"ctx.{name}", summary, result, role, params, deadline, streams)


CTX_TABLE: tuple[Method, ...] = (
    _ctx("query", "All that was written to keys with a prefix, oldest first.", PAGE, PREFIX, *WINDOW, AS_OF),
    _ctx("history", "All that was written to a key, oldest first.", PAGE, KEY, *WINDOW),
    _ctx(
        "by_agent",
        "All that an agent wrote, oldest first.",
        PAGE,
        Param("agent_id", "string", "the writer", required=True),
        *WINDOW,
    ),
    _ctx("read", "An entry by its hash.", ENTRY, HASH),
    _ctx("latest", "What was written to a key last.", ENTRY, KEY, AS_OF),
    _ctx(
        "search",
        "Entries whose value holds all the words of a text, best first.",
        "{entries}",
        Param("text", "string", "the words", required=True),
        PREFIX,
        Param("limit", "count", "at most this many", default=20),
    ),
    _ctx("agents", "Who wrote how much.", "{agents: [{agent_id, entries, bytes}]}"),
    _ctx("status", "The store itself.", "{size, root, searchable, path, failed}"),
    _ctx(
        "graph",
        "From which entries an entry was made, or which were made from it.",
        "the entries and their links",
        HASH,
        Param("direction", "string", "which way to go"),
        Param("depth", "count", "how many steps"),
        Param("limit", "count", "at most this many entries"),
    ),
    _ctx(
        "watch",
        "Entries as they are written.",
        "a stream of entries",
        PREFIX,
        Param("since_seq", "seq", "begin after this number; default: only what is new"),
        streams=True,
    ),
    _ctx(
        "write",
        "Write an entry, as the operator.",
        DONE,
        KEY,
        Param("value", "value", "the value: any JSON, at most 256 KiB", required=True),
        Param("ttl_s", "value", "forget it after this many seconds"),
        EXPECTED,
        Param("parents", "value", "hashes of the entries that this one was made from"),
        role=Role.OPERATOR,
    ),
    _ctx("delete", "End a key; its history stays.", DONE, KEY, EXPECTED, role=Role.OPERATOR),
    _ctx("erase", "Destroy an entry's value; that it was there stays.", DONE, HASH, role=Role.OPERATOR),
    _ctx("root", "The Merkle root of the log.", "{size, root}", SIZE),
    _ctx(
        "prove",
        "A proof that an entry is in the log.",
        "the proof",
        Param("hash", "hash", "the entry's hash; or give `seq`"),
        Param("seq", "seq", "the entry's number"),
        SIZE,
    ),
    _ctx(
        "consistency",
        "A proof that the log of then is the beginning of the log of now.",
        "the proof",
        Param("size", "seq", "the log's length then", required=True),
        Param("root", "string", "the root that it had then, to check"),
        Param("new_size", "seq", "the later length; default: now"),
    ),
    _ctx("verify", "Recompute every hash of the store and the log.", "the findings", deadline=AUDIT),
    _ctx(
        "export",
        "All entries as lines, with proofs if asked for.",
        "a stream: a header, then entries",
        PREFIX,
        Param("proofs", "bool", "with a proof for each entry", default=False),
        streams=True,
    ),
    _ctx(
        "import",
        "Restore records of an export of a whole log, in order; what is there already is left alone.",
        "{added, present, size, root}",
        Param("start", "value", "the first line of the export", required=True),
        Param("lines", "value", "lines that follow in it: a list", required=True),
        role=Role.OPERATOR,
        deadline=AUDIT,
    ),
)

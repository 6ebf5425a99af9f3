"""Decide what a group of writes adds to the store: rows and acknowledgements, or refusals. Pure.

The store says what is there through `Lookup`; nothing here touches SQLite. All writes of a group see the ones
before them in the group, so a group means the same as its writes one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from nullbox.ctxgraph.access import HOST_AGENT
from nullbox.ctxgraph.entry import Kind
from nullbox.ctxgraph.merkle import Frontier, leaf_data, leaf_hash
from nullbox.ctxgraph.quota import Limits, Usage, charge, check
from nullbox.protocols.errors import ErrorCode, NullBoxError


class Anything:
    """Marks a write without condition; `None` as expected head means that the key must have none."""


ANYTHING = Anything()
Expected = bytes | None | Anything


class Write(NamedTuple):
    """Store a value under a key. `hash` and `text` belong together (`entry.entry_hash`); `parents` are hashes."""

    agent_id: str
    key: str
    hash: bytes
    text: bytes
    expected_head: Expected = ANYTHING
    ttl_ns: int = 0
    parents: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Delete:
    """End a key's head: `latest` finds nothing until the next write. History stays."""

    agent_id: str
    key: str
    expected_head: Expected = ANYTHING


@dataclass(frozen=True, slots=True)
class Erase:
    """Destroy the payload of one object; its hash, its records and all proofs stay. By its author or the operator.

    Writing the same value again brings it back: erasing is about what is stored, it forbids nothing.
    """

    agent_id: str
    hash: bytes


@dataclass(frozen=True, slots=True)
class Expire:
    """The store's own: a write's time is over. Recorded only if it is still its key's head."""

    seq: int
    key: str
    expires_ns: int


Op = Write | Delete | Erase | Expire


class Ack(NamedTuple):
    """A write is in the store. `changed` is False for an `Expire` that had nothing to end."""

    hash: bytes
    seq: int
    ts_ns: int
    changed: bool = True


class Head(NamedTuple):
    """The live object of a key: its hash, its objects.seq and the seq of the record that made it the head."""

    hash: bytes
    object: int
    seq: int
    agent_id: str


class Stored(NamedTuple):
    """An object: its objects.seq, author, key, and whether its payload was erased."""

    seq: int
    agent_id: str
    key: str
    erased: bool


class Lookup(Protocol):
    """What the decision needs to know of the store."""

    def existing(self, hashes: list[bytes]) -> Mapping[bytes, tuple[int, bool]]:
        """Those of `hashes` that are objects: their objects.seq, and whether the payload is erased."""
        ...

    def head(self, key: str, now_ns: int) -> Head | None: ...

    def stored(self, hash: bytes) -> Stored | None: ...


@dataclass(slots=True)
class Changes:
    """Rows to add, in the order of their tables, and the tree and usage as they will be.

    payload: objects (by objects.seq) that get another value than they have: None, or their own text back.
    """

    frontier: Frontier
    ts_ns: int
    objects: list[tuple[int, bytes, str | None]] = field(default_factory=list)
    log: list[tuple[int, int, int, str, str, int, int]] = field(default_factory=list)
    edges: list[tuple[int, bytes]] = field(default_factory=list)
    ttl: list[tuple[int, int]] = field(default_factory=list)
    ttl_done: list[tuple[int, int]] = field(default_factory=list)
    payload: dict[int, str | None] = field(default_factory=dict)
    usage: dict[str, Usage] = field(default_factory=dict)


def decide(
    ops: list[Op],
    lookup: Lookup,
    frontier: Frontier,
    now_ns: int,
    usage: Mapping[str, Usage],
    limits: Callable[[str], Limits | None],
) -> tuple[Changes, list[Ack | NullBoxError]]:
    """What `ops` do to the store, in order.

    now_ns: time of the whole group; the caller keeps it from going back.
    limits: quota of an author; None for no quota.
    """
    decision = _Decision(lookup, Changes(frontier.copy(), now_ns), usage, limits)
    writes = [op for op in ops if isinstance(op, Write)]
    named = [op.hash for op in writes] + [parent for op in writes for parent in op.parents]
    decision.objects.update(lookup.existing(named))
    outcomes: list[Ack | NullBoxError] = []
    for op in ops:
        try:
            outcomes.append(decision.take(op))
        except NullBoxError as error:
            outcomes.append(error)
    return decision.changes, outcomes


class _Decision:
    """One group in the making: the changes so far, laid over what the store holds."""

    def __init__(
        self,
        lookup: Lookup,
        changes: Changes,
        usage: Mapping[str, Usage],
        limits: Callable[[str], Limits | None],
    ) -> None:
        self.lookup = lookup
        self.changes = changes
        self.usage = usage
        self.limits = limits
        self.objects: dict[bytes, tuple[int, bool]] = {}
        self.heads: dict[str, Head | None] = {}
        self.new: dict[bytes, Stored] = {}

    def take(self, op: Op) -> Ack:
        if isinstance(op, Write):
            return self._write(op)
        if isinstance(op, Delete):
            return self._delete(op)
        if isinstance(op, Erase):
            return self._erase(op)
        return self._expire(op)

    def _write(self, op: Write) -> Ack:
        if op.expected_head is not ANYTHING:
            self._check_head(op.key, op.expected_head)
        for parent in op.parents:
            if parent not in self.objects:
                message = f"the parent {parent.hex()} is not in the store; write it first"
                raise NullBoxError(ErrorCode.INVALID, message)
        known = self.objects.get(op.hash)
        self._charge(op.agent_id, op.key, op.text if known is None else None)
        changes = self.changes
        seq = changes.frontier.size + 1
        if known is None:
            target = seq
            changes.objects.append((seq, op.hash, op.text.decode()))
            changes.edges.extend((seq, parent) for parent in op.parents)
            self.new[op.hash] = Stored(seq, op.agent_id, op.key, False)
            self.objects[op.hash] = (seq, False)
        else:
            target, erased = known
            if erased:
                changes.payload[target] = op.text.decode()
                self.objects[op.hash] = (target, False)
        expires_ns = changes.ts_ns + op.ttl_ns if op.ttl_ns else 0
        if expires_ns:
            changes.ttl.append((expires_ns, seq))
        self.heads[op.key] = Head(op.hash, target, seq, op.agent_id)
        return self._record(Kind.WRITE, op.agent_id, op.key, op.hash, target, expires_ns)

    def _delete(self, op: Delete) -> Ack:
        head = self._head(op.key)
        if op.expected_head is not ANYTHING:
            self._check_head(op.key, op.expected_head)
        if head is None:
            raise NullBoxError(ErrorCode.NOT_FOUND, f"the key {op.key[:80]!r} has no live entry to delete")
        self._charge(op.agent_id, op.key, None)
        self.heads[op.key] = None
        return self._record(Kind.DELETE, op.agent_id, op.key, head.hash, head.object)

    def _erase(self, op: Erase) -> Ack:
        stored = self.new.get(op.hash) or self.lookup.stored(op.hash)
        if stored is None:
            raise NullBoxError(ErrorCode.NOT_FOUND, f"no entry {op.hash.hex()} to erase")
        if op.agent_id not in (stored.agent_id, HOST_AGENT):
            message = f"the entry is of agent {stored.agent_id!r}; only it and the operator may erase it"
            raise NullBoxError(ErrorCode.DENIED, message)
        if self.objects.get(op.hash, (0, stored.erased))[1]:
            raise NullBoxError(ErrorCode.WRONG_STATE, f"the payload of {op.hash.hex()} is erased already")
        self.objects[op.hash] = (stored.seq, True)
        self.changes.payload[stored.seq] = None
        return self._record(Kind.ERASE, op.agent_id, stored.key, op.hash, stored.seq)

    def _expire(self, op: Expire) -> Ack:
        self.changes.ttl_done.append((op.expires_ns, op.seq))
        head = self.heads[op.key] if op.key in self.heads else self.lookup.head(op.key, op.expires_ns - 1)
        if head is None or head.seq != op.seq:
            return Ack(b"", op.seq, self.changes.ts_ns, changed=False)
        self.heads[op.key] = None
        return self._record(Kind.EXPIRE, head.agent_id, op.key, head.hash, head.object)

    def _record(self, kind: Kind, agent_id: str, key: str, object_hash: bytes, target: int, expires_ns: int = 0) -> Ack:
        changes = self.changes
        seq = changes.frontier.size + 1
        changes.frontier.append(leaf_hash(leaf_data(kind, seq, changes.ts_ns, expires_ns, object_hash, agent_id, key)))
        changes.log.append((seq, changes.ts_ns, int(kind), agent_id, key, target, expires_ns))
        return Ack(object_hash, seq, changes.ts_ns)

    def _head(self, key: str) -> Head | None:
        if key not in self.heads:
            self.heads[key] = self.lookup.head(key, self.changes.ts_ns)
        return self.heads[key]

    def _check_head(self, key: str, expected: Expected) -> None:
        head = self._head(key)
        found = head.hash if head else None
        if found != expected:
            current = found.hex() if found else None
            message = f"the head of {key[:80]!r} is {current or 'absent'}, not the expected one; read it and retry"
            raise NullBoxError(ErrorCode.CONFLICT, message, {"head": current, "seq": head.seq if head else None})

    def _charge(self, agent_id: str, key: str, new_text: bytes | None) -> None:
        before = self.changes.usage.get(agent_id) or self.usage.get(agent_id) or Usage()
        after = before.plus(charge(agent_id, key, new_text))
        limits = self.limits(agent_id)
        if limits is not None:
            check(agent_id, after, limits)
        self.changes.usage[agent_id] = after

"""What a group of writes means, decided against an in-memory store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from nullbox.ctxgraph.access import HOST_AGENT
from nullbox.ctxgraph.batch import Ack, Changes, Delete, Erase, Expire, Head, Op, Stored, Write, decide
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import Kind, entry_hash
from nullbox.ctxgraph.merkle import Frontier
from nullbox.ctxgraph.quota import Limits, Usage
from nullbox.protocols.errors import NullBoxError


class Memory:
    """`Lookup` with nothing in it, or with what a test puts there."""

    def __init__(self) -> None:
        self.heads: dict[str, Head] = {}
        self.objects: dict[bytes, Stored] = {}

    def existing(self, hashes: list[bytes]) -> Mapping[bytes, tuple[int, bool]]:
        return {h: (self.objects[h].seq, self.objects[h].erased) for h in hashes if h in self.objects}

    def head(self, key: str, now_ns: int) -> Head | None:
        return self.heads.get(key)

    def stored(self, hash: bytes) -> Stored | None:
        return self.objects.get(hash)


def write(agent: str, key: str, value: Any, **options: Any) -> Write:
    text = canonical(value)
    return Write(agent, key, entry_hash(agent, key, text), text, **options)


def run(
    *ops: Op, memory: Memory | None = None, limits: Limits | None = None, now: int = 1000
) -> tuple[Changes, list[Ack | NullBoxError]]:
    usage: dict[str, Usage] = {}
    return decide(list(ops), memory or Memory(), Frontier(), now, usage, lambda agent: limits)


def codes(outcomes: list[Ack | NullBoxError]) -> list[str]:
    return ["ok" if isinstance(out, Ack) else out.code.value for out in outcomes]


def test_one_value_is_one_object_and_every_write_is_a_record() -> None:
    a, b = write("x", "k", 1), write("x", "k", 2)
    changes, outcomes = run(a, b, a)
    assert [out.seq for out in outcomes if isinstance(out, Ack)] == [1, 2, 3]
    assert [row[0] for row in changes.objects] == [1, 2]
    assert [row[5] for row in changes.log] == [1, 2, 1], "the third record names the first object"
    assert changes.frontier.size == 3


def test_a_conditional_write_sees_the_writes_before_it_in_the_group() -> None:
    first = write("x", "k", 1, expected_head=None)
    second = write("x", "k", 2, expected_head=first.hash)
    late = write("x", "k", 3, expected_head=first.hash)
    _, outcomes = run(first, first, second, late)
    assert codes(outcomes) == ["ok", "conflict", "ok", "conflict"]
    assert isinstance(outcomes[3], NullBoxError)
    assert outcomes[3].data == {"head": second.hash.hex(), "seq": 2}


def test_a_deleted_key_has_no_head() -> None:
    a = write("x", "k", 1)
    _, outcomes = run(a, Delete("y", "k"), Delete("y", "k"), write("x", "k", 1, expected_head=None))
    assert codes(outcomes) == ["ok", "ok", "not_found", "ok"]


def test_a_refused_write_leaves_no_trace() -> None:
    changes, outcomes = run(write("x", "k", 1, expected_head=b"\1" * 32), Erase("x", b"\2" * 32))
    assert codes(outcomes) == ["conflict", "not_found"]
    assert not (changes.log or changes.objects or changes.usage or changes.frontier.size)


def test_quotas_stop_at_the_limit_and_count_per_agent() -> None:
    ops = [write("x", "k", n) for n in range(3)] + [write("y", "k", 9)]
    changes, outcomes = run(*ops, limits=Limits(entries=2))
    assert codes(outcomes) == ["ok", "ok", "denied", "ok"]
    assert changes.usage["x"].entries == 2


def test_only_the_author_and_the_operator_erase() -> None:
    a = write("x", "k", "secret")
    _, outcomes = run(a, Erase("y", a.hash), Erase("x", a.hash), Erase(HOST_AGENT, a.hash))
    assert codes(outcomes) == ["ok", "denied", "ok", "wrong_state"]


@pytest.mark.parametrize(("again", "payload"), [(False, None), (True, '"secret"')])
def test_the_last_of_erase_and_write_decides_the_payload(again: bool, payload: str | None) -> None:
    a = write("x", "k", "secret")
    changes, _ = run(a, Erase("x", a.hash), *([a] if again else []))
    assert changes.payload == {1: payload}


def test_parents_must_be_there_before_their_children() -> None:
    parent = write("x", "k", 1)
    child = write("x", "c", 2, parents=(parent.hash,))
    _, early = run(child, parent)
    assert codes(early) == ["invalid", "ok"]
    changes, late = run(parent, child)
    assert codes(late) == ["ok", "ok"]
    assert changes.edges == [(2, parent.hash)]


def test_expiry_ends_the_head_only_if_it_is_still_the_head() -> None:
    memory = Memory()
    memory.heads["k"] = Head(b"\1" * 32, 4, 7, "x")
    changes, outcomes = run(Expire(7, "k", 500), Expire(6, "k", 400), memory=memory)
    assert [out.changed for out in outcomes if isinstance(out, Ack)] == [True, False]
    assert [(row[2], row[3], row[5]) for row in changes.log] == [(Kind.EXPIRE, "x", 4)]
    assert changes.ttl_done == [(500, 7), (400, 6)]


def test_a_time_to_live_is_counted_from_the_record() -> None:
    changes, _ = run(write("x", "k", 1, ttl_ns=50), now=1000)
    assert changes.ttl == [(1050, 1)]
    assert changes.log[0][-1] == 1050

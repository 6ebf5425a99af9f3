"""The store against a model of plain Python values, with crashes and reopening as steps like any other."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from nullbox.ctxgraph import evidence
from nullbox.ctxgraph.batch import ANYTHING, Ack, Delete, Erase, Op, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import Kind, entry_hash, envelop
from nullbox.ctxgraph.proofs import Checkpoint, check_consistency, check_inclusion
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.quota import Limits
from nullbox.ctxgraph.reader import NEVER, Reader
from nullbox.ctxgraph.store import Store
from nullbox.protocols.errors import NullBoxError

AGENTS = ("a", "b")
KEYS = ("k", "k.1", "j")
QUOTA = 14

keys = st.sampled_from(KEYS)
agents = st.sampled_from(AGENTS)
values = st.integers(0, 1) | st.sampled_from(["x", 1.5])


class Model:
    """What the store must hold: the log as a list, and what follows from it by looking through all of it."""

    def __init__(self) -> None:
        self.log: list[tuple[Kind, str, str, bytes, int]] = []  # kind, author, key, hash, expires_ns
        self.texts: dict[bytes, bytes | None] = {}
        self.authors: dict[bytes, tuple[str, str]] = {}
        self.parents: dict[bytes, set[bytes]] = {}
        self.used: dict[str, int] = {}

    def head(self, key: str, now: int) -> bytes | None:
        for kind, _, written, address, expires in reversed(self.log):
            if written == key and kind is not Kind.ERASE:
                return address if kind is Kind.WRITE and not 0 < expires <= now else None
        return None

    def apply(self, op: Op, now: int) -> str:
        """Do it; "ok" or the code of the refusal."""
        if isinstance(op, Write):
            if op.expected_head is not ANYTHING and self.head(op.key, now) != op.expected_head:
                return "conflict"
            if not all(parent in self.texts for parent in op.parents):
                return "invalid"
            if self.used.get(op.agent_id, 0) >= QUOTA:
                return "denied"
            self.used[op.agent_id] = self.used.get(op.agent_id, 0) + 1
            self.texts[op.hash] = op.text
            self.authors.setdefault(op.hash, (op.agent_id, op.key))
            self.parents[op.hash] = set(op.parents)
            self.log.append((Kind.WRITE, op.agent_id, op.key, op.hash, now + op.ttl_ns if op.ttl_ns else 0))
            return "ok"
        if isinstance(op, Delete):
            head = self.head(op.key, now)
            if op.expected_head is not ANYTHING and head != op.expected_head:
                return "conflict"
            if head is None:
                return "not_found"
            if self.used.get(op.agent_id, 0) >= QUOTA:
                return "denied"
            self.used[op.agent_id] = self.used.get(op.agent_id, 0) + 1
            self.log.append((Kind.DELETE, op.agent_id, op.key, head, 0))
            return "ok"
        assert isinstance(op, Erase)
        if op.hash not in self.texts:
            return "not_found"
        author, key = self.authors[op.hash]
        if author != op.agent_id:
            return "denied"
        if self.texts[op.hash] is None:
            return "wrong_state"
        self.texts[op.hash] = None
        self.log.append((Kind.ERASE, op.agent_id, key, op.hash, 0))
        return "ok"


class CtxgraphMachine(RuleBasedStateMachine):
    written = Bundle("written")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="ctxgraph-model-"))
        self.path = self.folder / "0" / "store.sqlite"
        self.generation = 0
        self.now = 1_000
        self.model = Model()
        self.checkpoints: list[Checkpoint] = []
        self.abandoned: list[Store] = []
        self.open()

    def open(self) -> None:
        self.store = Store(self.path, clock_ns=lambda: self.now, limits=lambda agent: Limits(entries=QUOTA))
        self.reader = Reader(self.path, clock_ns=lambda: self.now)

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for store in [self.store, *self.abandoned]:
                store.close()
            shutil.rmtree(self.folder)

    def make(self, agent: str, key: str, value: Any, parents: list[bytes], **options: Any) -> Write:
        if parents:
            value = envelop(value, [parent.hex() for parent in parents])
        text = canonical(value)
        return Write(agent, key, entry_hash(agent, key, text), text, parents=tuple(parents), **options)

    def do(self, ops: list[Op]) -> list[Ack | NullBoxError]:
        outcomes = self.store.apply(ops)
        expected = [self.model.apply(op, self.now) for op in ops]
        assert ["ok" if isinstance(out, Ack) else out.code.value for out in outcomes] == expected
        seqs = [out.seq for out in outcomes if isinstance(out, Ack)]
        assert seqs == list(range(len(self.model.log) - len(seqs) + 1, len(self.model.log) + 1))
        return outcomes

    # --- steps ----------------------------------------------------------------------------------------------

    @rule(target=written, agent=agents, key=keys, value=values, data=st.data())
    def write(self, agent: str, key: str, value: Any, data: st.DataObject) -> Any:
        options: dict[str, Any] = {}
        if data.draw(st.booleans()):
            options["expected_head"] = data.draw(st.sampled_from([None, self.model.head(key, self.now)]))
        if data.draw(st.booleans()):
            options["ttl_ns"] = data.draw(st.integers(1, 30))
        op = self.make(agent, key, value, [], **options)
        (outcome,) = self.do([op])
        return op.hash if isinstance(outcome, Ack) else multiple()

    @rule(target=written, agent=agents, key=keys, value=values, parents=st.lists(written, max_size=3, unique=True))
    def write_with_parents(self, agent: str, key: str, value: Any, parents: list[bytes]) -> Any:
        op = self.make(agent, key, value, parents)
        (outcome,) = self.do([op])
        return op.hash if isinstance(outcome, Ack) else multiple()

    @rule(ops=st.lists(st.tuples(agents, keys, values, st.booleans()), min_size=2, max_size=5))
    def write_a_group(self, ops: list[tuple[str, str, Any, bool]]) -> None:
        """Writes of one transaction, some on condition that the one before them is their key's head."""
        group: list[Op] = []
        before: bytes | None = None
        for agent, key, value, conditional in ops:
            op = self.make(agent, key, value, [], **({"expected_head": before} if conditional else {}))
            before = op.hash
            group.append(op)
        self.do(group)

    @rule(agent=agents, key=keys)
    def delete(self, agent: str, key: str) -> None:
        self.do([Delete(agent, key)])

    @rule(agent=agents, address=written)
    def erase(self, agent: str, address: bytes) -> None:
        self.do([Erase(agent, address)])

    @rule(address=written, erase_first=st.booleans())
    def write_again(self, address: bytes, erase_first: bool) -> None:
        """The same value once more, perhaps just after its payload was destroyed."""
        text, (author, key) = self.model.texts[address], self.model.authors[address]
        if text is None:
            return
        ops: list[Op] = [Erase(author, address)] if erase_first else []
        parents = tuple(sorted(self.model.parents[address]))
        self.do([*ops, Write(author, key, address, text, parents=parents)])

    @rule(nanoseconds=st.integers(1, 40))
    def time_passes(self, nanoseconds: int) -> None:
        self.now += nanoseconds

    @rule(nanoseconds=st.integers(0, 40))
    def expire(self, nanoseconds: int) -> None:
        self.now += nanoseconds
        due = self.store.due(1000)
        for op, out in zip(due, self.store.apply(due), strict=True):
            assert isinstance(out, Ack)
            # It counts only if nothing happened to the key since; what the key held is its head until now.
            alive = self.model.head(op.key, op.expires_ns - 1)
            last = max(
                (n for n, record in enumerate(self.model.log, 1) if record[2] == op.key and record[0] != Kind.ERASE)
            )
            assert out.changed == (last == op.seq)
            if out.changed:
                assert alive is not None
                author = self.model.log[op.seq - 1][1]
                self.model.log.append((Kind.EXPIRE, author, op.key, alive, 0))

    @rule(limit=st.integers(1, 5))
    def index(self, limit: int) -> None:
        self.store.index(limit)

    @rule()
    def keep_a_checkpoint(self) -> None:
        self.checkpoints.append(Checkpoint(self.store.size, self.store.root().hex()))

    @rule()
    def close_and_reopen(self) -> None:
        self.reader.close()
        self.store.close()
        self.open()

    @rule(garbage=st.binary(max_size=5000))
    def crash(self, garbage: bytes) -> None:
        """The files as they are while the store is open, with a torn write at the end of the WAL."""
        self.reader.close()
        self.generation += 1
        target = self.folder / str(self.generation)
        target.mkdir()
        for each in self.path.parent.iterdir():
            if not each.name.endswith("-shm"):
                shutil.copy(each, target)
        wal = target / "store.sqlite-wal"
        if wal.exists():
            with wal.open("ab") as file:
                file.write(garbage)
        self.abandoned.append(self.store)
        self.path = target / "store.sqlite"
        self.open()

    # --- what must always hold ------------------------------------------------------------------------------

    @invariant()
    def the_log_is_the_models(self) -> None:
        if not hasattr(self, "store"):
            return
        assert self.store.size == len(self.model.log)
        entries = self.reader.query([""], Window(0, NEVER), 1000, kinds=4).entries
        found = [(e.kind, e.agent_id, e.key, e.hash, e.expires_ns) for e in entries]
        assert found == self.model.log
        assert [e.text and e.text.encode() for e in entries] == [self.model.texts[e.hash] for e in entries]

    @invariant()
    def heads_are_the_models(self) -> None:
        if not hasattr(self, "store"):
            return
        for key in KEYS:
            try:
                found = self.reader.latest(key).hash
            except NullBoxError:
                found = None
            assert found == self.model.head(key, self.now)

    @rule(prefix=st.sampled_from(["", "k", "k.", "j", "x"]), limit=st.integers(1, 50), newest=st.booleans())
    def query(self, prefix: str, limit: int, newest: bool) -> None:
        expected = [
            n for n, record in enumerate(self.model.log, 1) if record[2].startswith(prefix) and record[0] is Kind.WRITE
        ]
        if newest:
            expected.reverse()
        page = self.reader.query([prefix], Window(0, NEVER, newest), limit)
        assert [entry.seq for entry in page.entries] == expected[:limit]
        assert (page.next is not None) == (len(expected) > limit)

    @rule(agent=agents, prefixes=st.sampled_from([("",), ("k.",), ("j", "k.1")]))
    def by_agent(self, agent: str, prefixes: tuple[str, ...]) -> None:
        expected = [
            n
            for n, record in enumerate(self.model.log, 1)
            if record[0] is Kind.WRITE and record[1] == agent and record[2].startswith(prefixes)
        ]
        page = self.reader.by_agent(agent, prefixes, Window(0, NEVER), 1000)
        assert [entry.seq for entry in page.entries] == expected

    @rule(data=st.data())
    def prove(self, data: st.DataObject) -> None:
        if not self.model.log:
            return
        seq = data.draw(st.integers(1, len(self.model.log)))
        proof = evidence.prove(self.reader, seq)
        check_inclusion(Checkpoint(self.store.size, self.store.root().hex()), proof)
        assert proof["record"]["hash"] == self.model.log[seq - 1][3].hex()

    @rule()
    def history_was_never_rewritten(self) -> None:
        for old in self.checkpoints:
            proof = evidence.consistency(self.reader, old.size, old.root)
            check_consistency(old, Checkpoint(self.store.size, self.store.root().hex()), proof["path"])

    @rule()
    def verify(self) -> None:
        report = evidence.audit(self.reader)
        assert report["ok"], report["problems"]
        assert report["objects"] == len(self.model.texts)
        assert report["erased"] == sum(text is None for text in self.model.texts.values())


@pytest.mark.slow
def test_the_store_is_what_the_model_says() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        CtxgraphMachine,
        settings=settings(
            max_examples=60,
            stateful_step_count=40,
            suppress_health_check=list(HealthCheck),
        ),
    )

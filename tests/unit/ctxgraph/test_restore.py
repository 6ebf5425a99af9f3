"""Exports brought back: the same log again or a refusal that says why, however often and in whatever pieces."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nullbox.ctxgraph import evidence
from nullbox.ctxgraph.batch import Ack, Delete, Erase, Op, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import entry_hash, envelop
from nullbox.ctxgraph.lines import check_export, read_line
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.restore import restore
from nullbox.ctxgraph.store import RESTORE_PAUSE_NS, Store
from nullbox.ctxgraph.transfer import export_all, export_lines, header, import_lines
from nullbox.protocols.errors import ErrorCode, NullBoxError

Lines = list[dict[str, Any]]


def exported(path: Path, *, proofs: bool = True) -> Lines:
    reader = Reader(path)
    try:
        return list(export_all(reader, proofs=proofs))
    finally:
        reader.close()


def texts(lines: Lines) -> list[str]:
    return [json.dumps(line) for line in lines]


def sound(path: Path) -> bool:
    reader = Reader(path)
    try:
        return bool(evidence.audit(reader)["ok"])
    finally:
        reader.close()


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, write: Callable[..., Write], put: Callable[..., list[Ack]]) -> Path:
    """Of everything that a log can hold: A after B after A, parents, a deletion, an expiry, an erasure."""
    now = [1_000_000_000]
    path = tmp_path_factory.mktemp("old") / "ctxgraph.sqlite"
    store = Store(path, clock_ns=lambda: now[0])
    first, secret, *_ = put(store, write("a", "k", "A"), write("a", "secret", "s"), write("b", "k", "B"))
    put(store, write("a", "k", "A"), write("b", "made", envelop(1, [first.hash.hex()]), parents=(first.hash,)))
    put(store, write("a", "brief", 1.5, ttl_ns=10), Delete("b", "made"), Erase("a", secret.hash))
    now[0] += 1_000
    put(store, *store.due())
    put(store, *(write("a", f"n.{n}", n) for n in range(40)))
    store.close()
    return path


@pytest.fixture
def source(old: Path) -> Lines:
    return exported(old)


def test_a_restored_log_is_the_same_log(source: Lines, path: Path) -> None:
    store = Store(path)
    assert import_lines(texts(source), store) == {name: source[0][name] for name in ("size", "root")}
    assert exported(path) == source
    assert sound(path)
    assert import_lines(texts(source), store)["size"] == len(source) - 1, "again: nothing to do"
    store.close()
    with pytest.raises(NullBoxError, match="was deleted"):
        Reader(path).latest("made")


def test_a_long_log_brings_its_tiles(
    tmp_path: Path, path: Path, write: Callable[..., Write], put: Callable[..., list[Ack]]
) -> None:
    long, copy = Store(tmp_path / "long.sqlite"), Store(path)
    for start in range(0, 600, 60):
        put(long, *(write("a", f"n.{n}", n) for n in range(start, start + 60)))
    import_lines(texts(exported(long.path, proofs=False)), copy)
    long.close()
    copy.close()
    assert sound(path)
    Store(path).close()


def test_a_restore_that_was_cut_off_goes_on(source: Lines, path: Path) -> None:
    entries = [read_line(line).entry for line in source[1:]]
    store = Store(path)
    assert restore(store, entries[:20])["added"] == 20
    store.close()
    store = Store(path)
    again = restore(store, entries[:30])
    assert (again["added"], again["present"], again["size"]) == (10, 20, 30)
    with pytest.raises(NullBoxError, match="the log here ends at 30, the lines begin with record 41"):
        restore(store, entries[40:])
    assert restore(store, entries[30:])["root"] == source[0]["root"]
    store.close()


def test_a_store_with_a_log_of_its_own_is_left_as_it_is(
    source: Lines, path: Path, write: Callable[..., Write], put: Callable[..., list[Ack]]
) -> None:
    store = Store(path)
    put(store, write("mine", "k", "mine"))
    before = store.root()
    with pytest.raises(NullBoxError, match="record 1 here is another one: this store has a log of its own") as caught:
        import_lines(texts(source), store)
    assert caught.value.code is ErrorCode.CONFLICT
    assert (store.size, store.root()) == (1, before)
    store.close()


def _value(lines: Lines) -> None:
    lines[1]["value"] = "forged"


def _author(lines: Lines) -> None:
    lines[2]["agent_id"] = "b"  # of an erased object, whose value says nothing


def _time(lines: Lines) -> None:
    lines[4]["ts_ns"] += 1


def _path(lines: Lines) -> None:
    lines[3]["path"][2] = "0" * 64


def _short_path(lines: Lines) -> None:
    lines[3]["path"].pop()


def _order(lines: Lines) -> None:
    lines[5], lines[6] = lines[6], lines[5]


def _gap(lines: Lines) -> None:
    del lines[7]


def _end(lines: Lines) -> None:
    del lines[-1]


def _root(lines: Lines) -> None:
    lines[0]["root"] = "0" * 64


def _prefixes(lines: Lines) -> None:
    lines[0]["prefixes"] = ["n."]


def _header(lines: Lines) -> None:
    del lines[0]


def _nothing(lines: Lines) -> None:
    lines.clear()


def _field(lines: Lines) -> None:
    del lines[3]["key"]


def _kind(lines: Lines) -> None:
    lines[3]["event"] = "moved"


FORGERIES: list[tuple[Callable[[Lines], None], str, str]] = [
    (_value, "record 1: its value hashes to", "record 1: its value hashes to"),
    (_author, "record 2: its proof does not hold", "the lines give 49 records with root"),
    (_time, "record 4: its proof does not hold", "the lines give 49 records with root"),
    (_order, "record 5 is missing; 6 follows", "record 5 is missing; 6 follows"),
    (_gap, "record 7 is missing; 8 follows", "record 7 is missing; 8 follows"),
    (_end, "the lines give 48 records", "the lines give 48 records"),
    (_root, "record 1: its proof does not hold", "the lines give 49 records with root"),
    (_prefixes, "an export of the prefixes", "an export of the prefixes"),
    (_header, "line 1 is no header", "line 1 is no header"),
    (_nothing, "line 1 is no header", "line 1 is no header"),
    (_field, "record 3: no record", "record 3: no record"),
    (_kind, "record 3: no record", "record 3: no record"),
]
"""What is changed, and what is said of it where the export has proofs and where it has none."""


@pytest.mark.parametrize("proofs", [True, False], ids=["proofs", "plain"])
@pytest.mark.parametrize(("forge", "proved", "plain"), FORGERIES)
def test_what_does_not_hold_is_named_and_refused(
    old: Path, path: Path, forge: Any, proved: str, plain: str, proofs: bool
) -> None:
    lines = exported(old, proofs=proofs)
    forge(lines)
    refused(lines, path, proved if proofs else plain)


@pytest.mark.parametrize("forge", [_path, _short_path])
def test_a_proof_that_does_not_hold_is_refused_though_the_record_is_right(
    source: Lines, path: Path, forge: Any
) -> None:
    forge(source)
    refused(source, path, "record 3: its proof does not hold")


def refused(lines: Lines, path: Path, said: str) -> None:
    with pytest.raises(NullBoxError, match=said) as caught:
        check_export(texts(lines))
    assert caught.value.code is ErrorCode.INVALID
    store = Store(path)
    with pytest.raises(NullBoxError):
        import_lines(texts(lines), store)
    store.close()
    assert sound(path)


def test_lines_that_are_no_json_are_refused(source: Lines, path: Path) -> None:
    for broken in ('{"seq": 2', "[1]", "[" * 5000):
        lines = [*texts(source[:2]), broken]
        with pytest.raises(NullBoxError, match=r"no JSON"):
            check_export(lines)
        store = Store(path)
        with pytest.raises(NullBoxError, match=r"no JSON"):
            import_lines(lines, store)
        store.close()


def test_an_export_of_some_keys_is_no_log(old: Path) -> None:
    reader = Reader(old)
    start = header(reader, ["n."])
    lines, _ = export_lines(reader, start, proofs=True)
    reader.close()
    with pytest.raises(NullBoxError, match="which is no whole log; export without a prefix"):
        check_export(texts([start, *lines]))


def test_what_has_ended_is_not_recorded_again_while_a_log_is_restored(source: Lines, path: Path) -> None:
    now = [10**18]
    store = Store(path, clock_ns=lambda: now[0])
    entries = [read_line(line).entry for line in source[1:]]
    ended = next(n for n, entry in enumerate(entries) if entry.expires_ns) + 1
    restore(store, entries[:ended])
    assert store.due() == [], "its expiry is one of the records to come"
    now[0] += RESTORE_PAUSE_NS
    assert [op.seq for op in store.due()] == [ended], "none came"
    restore(store, entries)
    assert store.root().hex() == source[0]["root"]
    now[0] += RESTORE_PAUSE_NS
    for op in store.due():
        (outcome,) = store.apply([op])
        assert isinstance(outcome, Ack)
        assert not outcome.changed
    assert store.size == len(entries)
    store.close()


steps = st.lists(
    st.tuples(st.sampled_from("wwwdep"), st.sampled_from("ab"), st.sampled_from(["k", "j"]), st.integers(0, 2)),
    min_size=1,
    max_size=25,
)


@settings(max_examples=30)
@given(steps=steps, cut=st.integers(0, 25), proofs=st.booleans())
def test_an_older_export_then_a_newer_one_are_the_newer_one(steps: Any, cut: int, proofs: bool) -> None:
    """Whatever happened between the two: what was erased since is gone from the restored store as well."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, copy = Store(folder / "source"), Store(folder / "copy")
        for store in (source, copy):
            store._connection.execute("PRAGMA synchronous = OFF")
        for number, (what, agent, key, value) in enumerate(steps):
            if number == cut:
                import_lines(texts(exported(source.path, proofs=proofs)), copy)
            text = canonical(value)
            address = entry_hash(agent, key, text)
            op: Op = Write(agent, key, address, text)
            if what == "d":
                op = Delete(agent, key)
            elif what == "e":
                op = Erase(agent, address)
            elif what == "p" and source.lookup.existing([address]):
                child = canonical(envelop(value, [address.hex()]))
                op = Write(agent, key, entry_hash(agent, key, child), child, parents=(address,))
            source.apply([op])
        import_lines(texts(exported(source.path)), copy)
        assert exported(copy.path) == exported(source.path)
        source.close()
        copy.close()
        assert sound(folder / "copy")

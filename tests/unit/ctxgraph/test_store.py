"""The store on a real disk: durable across crashes, one writer, clear failures, nothing lost."""

from __future__ import annotations

import os
import resource
import signal
import sqlite3
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nullbox.ctxgraph import evidence
from nullbox.ctxgraph.batch import Ack, Delete, Erase, Write
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.quota import Limits
from nullbox.ctxgraph.reader import NEVER, Reader
from nullbox.ctxgraph.store import Store
from nullbox.protocols.errors import ErrorCode, NullBoxError

Maker = Callable[..., Write]
Putter = Callable[..., list[Ack]]


def outcome(store: Store, op: Any) -> Ack | NullBoxError:
    return store.apply([op])[0]


def test_what_was_acknowledged_is_there_after_reopening(path: Path, write: Maker, put: Putter) -> None:
    store = Store(path)
    acks = put(store, *(write("a", "k", n) for n in range(300)))
    root = store.root()
    store.close()
    store.close()
    again = Store(path)
    assert (again.size, again.root()) == (300, root)
    reader = Reader(path)
    assert [reader.read(ack.hash).text for ack in acks] == [str(n) for n in range(300)]
    assert evidence.audit(reader)["ok"]
    again.close()


def test_time_never_goes_back_in_the_log(path: Path, write: Maker, put: Putter) -> None:
    times = iter([100, 50, 200])
    store = Store(path, clock_ns=lambda: next(times))
    assert [put(store, write("a", "k", n))[0].ts_ns for n in range(3)] == [100, 100, 200]
    store.close()


def test_a_then_b_then_a_again_makes_a_the_latest(store: Store, path: Path, write: Maker, put: Putter) -> None:
    a, b = write("x", "k", "A"), write("x", "k", "B")
    put(store, a, b, a)
    reader = Reader(path)
    assert reader.latest("k").text == '"A"'
    assert reader.latest("k").seq == 3
    assert reader.latest("k", as_of=2).text == '"B"'
    assert reader.read(a.hash).seq == 1
    assert [e.text for e in reader.history("k", Window(0, NEVER), 9).entries] == ['"A"', '"B"', '"A"']


def test_a_second_process_cannot_open_the_store(store: Store, path: Path) -> None:
    code = f"from pathlib import Path; from nullbox.ctxgraph.store import Store; Store(Path({str(path)!r}))"
    second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert second.returncode == 1
    assert "another process has ctxgraph.sqlite open" in second.stderr


def test_the_lock_goes_with_its_process(path: Path) -> None:
    code = textwrap.dedent(
        f"""
        import os
        from pathlib import Path
        from nullbox.ctxgraph.store import Store
        store = Store(Path({str(path)!r}))
        os.kill(os.getpid(), 9)
        """
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == -signal.SIGKILL
    Store(path).close()


WRITER = """
import json, sys
from pathlib import Path
from nullbox.ctxgraph.batch import Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import entry_hash
from nullbox.ctxgraph.store import Store
store = Store(Path(sys.argv[1]))
n = store.size
while True:
    group = []
    for _ in range(7):
        n += 1
        text = canonical({"n": n})
        group.append(Write("a", f"k{n % 5}", entry_hash("a", f"k{n % 5}", text), text))
    for ack in store.apply(group):
        print(ack.seq, ack.hash.hex(), flush=True)
"""


def test_nothing_acknowledged_is_lost_by_sigkill(path: Path) -> None:
    acknowledged: dict[int, str] = {}
    for lines in (3, 40, 111):
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(lines):
            seq, address = process.stdout.readline().split()
            acknowledged[int(seq)] = address
        process.kill()
        for line in process.stdout.read().splitlines():
            if len(line.split()) == 2 and len(line.split()[1]) == 64:
                acknowledged[int(line.split()[0])] = line.split()[1]
        process.wait()
        store = Store(path)
        store.close()
        reader = Reader(path)
        page_of = {n: reader.query([""], Window(n - 1, n + 1), 1).entries[0].hash.hex() for n in acknowledged}
        assert page_of == acknowledged
        assert evidence.audit(reader)["ok"]
        reader.close()


def test_a_full_disk_refuses_what_does_not_fit_and_keeps_the_rest(path: Path, write: Maker, put: Putter) -> None:
    store = Store(path)
    put(store, write("a", "k", "before"))
    connection = store._connection
    pages = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages + 4}")
    small, big, small2 = store.apply([write("a", "k", 1), write("a", "k", "x" * 100_000), write("a", "k", 2)])
    assert isinstance(small, Ack) and isinstance(small2, Ack)
    assert isinstance(big, NullBoxError)
    assert big.code is ErrorCode.UNAVAILABLE
    assert "disk is full" in big.message
    assert (small.seq, small2.seq) == (2, 3)
    connection.execute("PRAGMA max_page_count = 1000000")
    put(store, write("a", "k", "x" * 100_000))
    store.close()
    assert evidence.audit(Reader(path))["ok"]


def test_a_disk_that_is_really_full(path: Path, write: Maker, put: Putter) -> None:
    """RLIMIT_FSIZE makes the kernel refuse to grow the file (EFBIG), as a full disk does."""
    code = WRITER.replace("store.apply(group)", "check(store.apply(group))").replace(
        "store = Store(Path(sys.argv[1]))",
        textwrap.dedent(
            """
            import resource, signal
            store = Store(Path(sys.argv[1]))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
            def check(outcomes):
                for out in outcomes:
                    if isinstance(out, Exception):
                        print("failed", store.failed is not None, out.message, flush=True)
                        sys.exit(9)
                return outcomes
            """
        ),
    )
    process = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=120)
    assert process.returncode == 9, process.stderr
    *lines, last = process.stdout.splitlines()
    assert last.startswith("failed")
    assert "disk" in last
    store = Store(path)
    assert store.size >= len(lines)
    put(store, write("a", "k", "after"))
    store.close()
    reader = Reader(path)
    for line in lines:
        seq, address = line.split()
        assert reader.query([""], Window(int(seq) - 1, int(seq) + 1), 1).entries[0].hash.hex() == address
    assert evidence.audit(reader)["ok"]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 300_000


def test_a_failing_disk_stops_the_writer_for_good(store: Store, path: Path, write: Maker, put: Putter) -> None:
    put(store, write("a", "k", 1))
    real = store._connection

    class Failing:
        in_transaction = False

        def execute(self, sql: str, *values: Any) -> Any:
            if sql == "COMMIT":
                error = sqlite3.OperationalError("disk I/O error")
                error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
                error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
                real.execute("ROLLBACK")
                raise error
            return real.execute(sql, *values)

        def close(self) -> None:
            real.close()

    store._connection = Failing()  # type: ignore[assignment]
    failed = outcome(store, write("a", "k", 2))
    assert isinstance(failed, NullBoxError)
    assert "SQLITE_IOERR_FSYNC" in failed.message
    store._connection = real
    assert outcome(store, write("a", "k", 3)) is failed, "no write after a failed sync, until reopened"
    assert Reader(path).latest("k").text == "1", "old data stays readable"
    store.close()
    again = Store(path)
    put(again, write("a", "k", 4))
    again.close()


def damage(path: Path, needle: bytes, change: Callable[[bytearray, int], None]) -> None:
    data = bytearray(path.read_bytes())
    at = data.find(needle)
    assert at > 0, "the needle must be in the main file"
    change(data, at)
    path.write_bytes(bytes(data))


def flip(data: bytearray, at: int) -> None:
    data[at + 3] ^= 1


def filled(path: Path, write: Maker, put: Putter, count: int = 600) -> None:
    store = Store(path)
    for start in range(0, count, 60):
        put(store, *(write("a", f"k{n % 7}", f"value-{n:05}-") for n in range(start, start + 60)))
    store._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()


def test_verify_names_a_changed_value(path: Path, write: Maker, put: Putter) -> None:
    filled(path, write, put)
    damage(path, b'"value-00123-', flip)
    report = evidence.audit(Reader(path))
    assert not report["ok"]
    assert any("record 124:" in problem for problem in report["problems"])


def test_verify_names_a_rewritten_log(path: Path, write: Maker, put: Putter) -> None:
    filled(path, write, put)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE log SET ts_ns = ts_ns + 1 WHERE seq = 100")
    connection.commit()
    connection.close()
    report = evidence.audit(Reader(path))
    assert any("records 1 to 256 do not match" in problem for problem in report["problems"])
    assert any("the tree was left at 600" in problem for problem in report["problems"])


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM log WHERE seq = 300", "record 300 is missing"),
        ("UPDATE objects SET value = NULL WHERE seq = 9", "object 9 is gone"),
        ("UPDATE log SET agent_id = 'b' WHERE seq = 5", "record 5"),
        ("DELETE FROM objects WHERE seq = 8", "names object 8, which is missing"),
        ("UPDATE tiles SET hash = x'00' WHERE number = 1", "records 257 to 512 do not match"),
        ("INSERT INTO edges VALUES (4, x'00')", "record 4: the graph"),
        ("INSERT INTO objects VALUES (9999, x'00', '1')", "601 objects are stored"),
    ],
)
def test_verify_sees_every_kind_of_tampering(
    path: Path, write: Maker, put: Putter, statement: str, problem: str
) -> None:
    filled(path, write, put)
    assert evidence.audit(Reader(path))["ok"]
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.commit()
    connection.close()
    report = evidence.audit(Reader(path))
    assert any(problem in each for each in report["problems"]), report["problems"]


def test_a_changed_tail_is_seen_when_the_store_opens(path: Path, write: Maker, put: Putter) -> None:
    filled(path, write, put)
    connection = sqlite3.connect(path)
    connection.execute("UPDATE log SET key = 'other' WHERE seq = 599")
    connection.commit()
    connection.close()
    with pytest.raises(NullBoxError, match="damaged") as raised:
        Store(path)
    assert raised.value.code is ErrorCode.UNAVAILABLE


def test_a_destroyed_page_is_reported_and_the_rest_stays_readable(path: Path, write: Maker, put: Putter) -> None:
    filled(path, write, put)

    def destroy(data: bytearray, at: int) -> None:
        page = at // 4096 * 4096
        data[page : page + 4096] = b"\xff" * 4096

    damage(path, b'"value-00400-', destroy)
    reader = Reader(path)
    assert reader.query([""], Window(0, 3), 2).entries[0].text == '"value-00000-"'
    with pytest.raises(NullBoxError, match="damaged") as raised:
        reader.query([""], Window(400, 402), 2)
    assert raised.value.code is ErrorCode.UNAVAILABLE
    assert not evidence.audit(Reader(path))["ok"]


@pytest.mark.parametrize("content", [b"", b"not a database" * 1000])
def test_other_files_are_refused_or_filled(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    if content:
        with pytest.raises(NullBoxError, match="no SQLite database"):
            Store(path)
    else:
        Store(path).close()


def test_another_programs_database_is_left_alone(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.commit()
    connection.close()
    with pytest.raises(NullBoxError, match="another program"):
        Store(path)


def test_erasing_destroys_the_text_and_keeps_all_proofs(path: Path, write: Maker, put: Putter) -> None:
    store = Store(path)
    secret = write("a", "k", "a-most-secret-text")
    put(store, write("a", "k", 1), secret, write("a", "k", 3))
    while store.index(100):
        pass
    reader = Reader(path)
    assert [entry.seq for entry in reader.search("secret", [""], 5)] == [2]
    before = evidence.root_at(reader)
    put(store, Erase("a", secret.hash))
    entry = reader.read(secret.hash)
    assert entry.text is None
    assert entry.to_json()["erased"] is True
    assert reader.search("secret", [""], 5) == []
    assert evidence.audit(reader)["ok"]
    assert evidence.audit(reader)["erased"] == 1
    evidence.consistency(reader, before["size"], before["root"])
    reader.close()
    store.close()
    for each in path.parent.iterdir():
        assert b"most-secret" not in each.read_bytes(), f"{each.name} still holds the text"


def test_an_erased_value_that_is_written_again_is_back(store: Store, path: Path, write: Maker, put: Putter) -> None:
    value = write("a", "k", "text")
    put(store, value)
    while store.index(100):
        pass
    put(store, Erase("a", value.hash), value)
    reader = Reader(path)
    assert reader.read(value.hash).text == '"text"'
    assert [entry.seq for entry in reader.search("text", [""], 5)] == [1]
    assert evidence.audit(reader)["ok"]


def test_a_time_to_live_ends_a_key_by_a_record(path: Path, write: Maker, put: Putter) -> None:
    now = [1000]
    store = Store(path, clock_ns=lambda: now[0])
    reader = Reader(path, clock_ns=lambda: now[0])
    put(store, write("a", "k", 1, ttl_ns=10), write("a", "j", 2, ttl_ns=10), write("a", "j", 3))
    assert store.due() == []
    now[0] = 1009
    assert store.due() == []
    now[0] = 1010
    with pytest.raises(NullBoxError, match="expired"):
        reader.latest("k")
    acks = put(store, *store.due())
    assert [ack.changed for ack in acks] == [True, False], "j was written anew before its time was over"
    assert store.due() == []
    events = [entry.kind.name for entry in reader.history("k", Window(0, NEVER), 9).entries]
    assert events == ["WRITE", "EXPIRE"]
    assert reader.latest("k", as_of=1).text == "1"
    assert reader.latest("j").text == "3"
    assert evidence.audit(reader)["ok"]
    store.close()


def test_a_tombstone_ends_a_key_and_keeps_its_history(store: Store, path: Path, write: Maker, put: Putter) -> None:
    put(store, write("a", "k", 1), Delete("a", "k"))
    reader = Reader(path)
    with pytest.raises(NullBoxError, match="was deleted") as raised:
        reader.latest("k")
    assert raised.value.code is ErrorCode.NOT_FOUND
    assert len(reader.history("k", Window(0, NEVER), 9).entries) == 2
    put(store, write("a", "k", 1))
    assert reader.latest("k").seq == 3


def test_quotas_hold_across_reopening(path: Path, write: Maker, put: Putter) -> None:
    store = Store(path, limits=lambda agent: Limits(entries=2))
    put(store, write("a", "k", 1), write("a", "k", 2))
    store.close()
    store = Store(path, limits=lambda agent: Limits(entries=2))
    refused = outcome(store, write("a", "k", 3))
    assert isinstance(refused, NullBoxError)
    assert refused.code is ErrorCode.DENIED
    put(store, write("b", "k", 3))
    assert Reader(path).agents() == [
        {"agent_id": "a", "entries": 2, "bytes": store.usage("a").size},
        {"agent_id": "b", "entries": 1, "bytes": store.usage("b").size},
    ]
    store.close()


def test_the_file_is_for_its_owner_only(store: Store, path: Path) -> None:
    assert path.stat().st_mode & 0o077 == 0
    assert os.stat(str(path) + ".lock").st_mode & 0o077 == 0

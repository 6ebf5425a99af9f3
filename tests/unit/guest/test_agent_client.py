"""The agents' client against the real store, over a Unix socket in place of vsock; and the sample agents with it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nullbox.ctxgraph.service import CtxgraphService
from nullbox.guest.nullbox_agent import MAX_LINE, Ctx, CtxError
from nullbox.protocols.layout import Layout

REPOSITORY = Path(__file__).parents[3]


@pytest.fixture
def service(short_path: Path) -> Iterator[CtxgraphService]:
    made = CtxgraphService()
    made.start(Layout(run=short_path / "run", state=short_path / "var"))
    yield made
    made.stop()


@pytest.fixture
def path(service: CtxgraphService) -> str:
    return str(service.open_channel("tester", read=["t.", "u."], write=["t."]))


def test_an_agents_own_entries_are_told_from_others(
    path: str, service: CtxgraphService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_NAME", "tester")
    mine, other = Ctx(path), Ctx(str(service.open_channel("other", read=["t."], write=["t."])))
    first, _, second = mine.write("t.a", 1), other.write("t.a", 2), mine.write("t.b", 3)
    other.write("t.b", 4)
    assert [entry["hash"] for entry in mine.own("t.")] == [second["hash"], first["hash"]]
    assert [entry["hash"] for entry in mine.own("t.", limit=2)] == [second["hash"]]
    for ctx in (mine, other):
        ctx.close()


def test_what_is_written_can_be_read_in_every_way(path: str) -> None:
    ctx = Ctx(path)
    first = ctx.write("t.a", {"n": 1})
    second = ctx.write("t.a", {"n": 2})
    assert second["seq"] > first["seq"]
    assert ctx.read(first["hash"])["value"] == {"n": 1}
    latest = ctx.latest("t.a")
    assert latest is not None
    assert (latest["value"], latest["agent_id"]) == ({"n": 2}, "tester")
    assert [entry["value"]["n"] for entry in ctx.history("t.a")] == [1, 2]
    assert [entry["value"]["n"] for entry in ctx.query("t.")] == [1, 2]
    assert [entry["value"]["n"] for entry in ctx.query("t.", after=first["seq"])] == [2]
    assert [entry["value"]["n"] for entry in ctx.query("t.", limit=1)] == [1]
    assert ctx.latest("t.none") is None
    ctx.close()


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (lambda ctx: ctx.write("x.a", 1), "denied"),
        (lambda ctx: ctx.read("0" * 64), "not_found"),
        (lambda ctx: ctx.read("short"), "invalid"),
        (lambda ctx: ctx.write("", 1), "invalid"),
        (lambda ctx: ctx.write("t.a", float("nan")), "invalid"),
        (lambda ctx: ctx.write("t.a", {1, 2}), "invalid"),
        (lambda ctx: ctx.write("t.a", "x" * MAX_LINE), "too_large"),
        (lambda ctx: ctx.write("t.a", "x" * 300_000), "too_large"),
        (lambda ctx: ctx.call("dance", {}), "not_found"),
    ],
)
def test_errors_have_the_contracts_words(path: str, action: Callable[[Ctx], Any], code: str) -> None:
    ctx = Ctx(path)
    with pytest.raises(CtxError) as caught:
        action(ctx)
    assert caught.value.code == code
    assert str(caught.value).endswith(f"({code})")
    ctx.write("t.still", "works")
    ctx.close()


def test_a_store_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    ctx = Ctx(str(tmp_path / "none"), patience=0.1)
    begun = time.monotonic()
    with pytest.raises(CtxError) as caught:
        ctx.write("t.a", 1)
    assert caught.value.code == "unavailable"
    assert time.monotonic() - begun < 5


class Unreliable:
    """A server that breaks the first connections in a chosen way, and answers on the next."""

    def __init__(self, path: Path, *misdeeds: bytes | None) -> None:
        self.seen: list[dict[str, Any]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen(8)
        self._misdeeds = list(misdeeds)
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            stream = connection.makefile("rwb")
            self.seen.append(json.loads(stream.readline()))
            misdeed = self._misdeeds.pop(0) if self._misdeeds else None
            answer = {"jsonrpc": "2.0", "id": self.seen[-1]["id"], "result": {"ok": True}}
            stream.write(json.dumps(answer).encode() + b"\n" if misdeed is None else misdeed)
            stream.flush()
            if misdeed is not None:
                stream.close()
                connection.close()


@pytest.mark.parametrize("misdeed", [b"", b"half a li", b"nonsense\n", b"[]\n", b"\xff\n"])
def test_a_broken_connection_is_made_anew(tmp_path: Path, misdeed: bytes) -> None:
    server = Unreliable(tmp_path / "s", misdeed, misdeed)
    ctx = Ctx(str(tmp_path / "s"))
    assert ctx.call("write", {"key": "t.a", "value": 1}) == {"ok": True}
    assert [request["method"] for request in server.seen] == ["write"] * 3
    ctx.close()


def test_a_watch_sees_each_entry_once(path: str) -> None:
    ctx = Ctx(path)
    ctx.write("t.before", 0)
    stream = Ctx(path).watch("t.", since_seq=0)
    assert next(stream)["key"] == "t.before"
    for number in range(3):
        ctx.write("t.n", number)
    assert [next(stream)["value"] for _ in range(3)] == [0, 1, 2]
    stream.close()
    ctx.close()


def test_threads_share_one_client(path: str) -> None:
    ctx = Ctx(path)

    def write(thread: int) -> None:
        for number in range(10):
            ctx.write(f"t.{thread}", number)

    threads = [threading.Thread(target=write, args=(thread,)) for thread in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for thread in range(4):
        assert [entry["value"] for entry in ctx.history(f"t.{thread}")] == list(range(10))
    ctx.close()


def agent(name: str, path: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(REPOSITORY / "agents" / name / "main.py")],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "nullbox" / "guest"), "NULLBOX_CTX_SOCKET": path},
        stdout=subprocess.PIPE,
        text=True,
    )


def test_pulse_beats_and_reader_sums_up(service: CtxgraphService) -> None:
    observer = Ctx(str(service.open_channel("observer", read=[""], write=[])))
    pulse = agent("pulse", str(service.open_channel("pulse", read=["pulse."], write=["pulse."])))
    reader = agent("reader", str(service.open_channel("reader", read=["pulse.", "reader."], write=["reader."])))
    try:
        for entry in observer.watch("reader.", since_seq=0):
            assert entry["key"] == "reader.summary"
            assert entry["value"]["boots"] == 1
            break
        beats = [entry["value"] for entry in observer.query("pulse.")]
        assert [beat["n"] for beat in beats] == list(range(1, len(beats) + 1))
        assert {beat["boot_id"] for beat in beats} == {Path("/proc/sys/kernel/random/boot_id").read_text().strip()}
        assert pulse.stdout is not None
        assert pulse.stdout.readline().startswith("pulse begins at 1")
    finally:
        for process in (pulse, reader):
            process.kill()
            process.wait(10)
            assert process.stdout is not None
            process.stdout.close()


def test_pages_that_do_not_fit_one_line_are_put_together(path: str) -> None:
    ctx = Ctx(path)
    for n in range(12):
        ctx.write("t.big", {"n": n, "fill": "x" * 150_000})
    for newest_first in (False, True):
        found = [entry["value"]["n"] for entry in ctx.query("t.big", newest_first=newest_first)]
        assert found == sorted(range(12), reverse=newest_first)
        assert [e["value"]["n"] for e in ctx.history("t.big", limit=7, newest_first=newest_first)] == found[:7]
    ctx.close()


def test_conditions_parents_and_forgetting(path: str) -> None:
    ctx = Ctx(path)
    first = ctx.write("t.k", 1, expected_head=None)
    with pytest.raises(CtxError) as raised:
        ctx.write("t.k", 2, expected_head=None)
    assert (raised.value.code, raised.value.data["head"]) == ("conflict", first["hash"])
    second = ctx.write("t.k", "words here", expected_head=first["hash"], parents=[first["hash"]])
    graph = ctx.graph(second["hash"])
    assert [node["hash"] for node in graph["nodes"]] == [second["hash"], first["hash"]]
    assert ctx.graph(first["hash"], direction="descendants")["edges"] == [[second["hash"], first["hash"]]]
    assert [entry["hash"] for entry in ctx.search("words", "t.")] == [second["hash"]]
    ctx.erase(second["hash"])
    ctx.delete("t.k")
    assert ctx.latest("t.k") is None
    assert [entry.get("event") for entry in ctx.history("t.k")] == [None, None, "erase", "delete"]
    ctx.close()

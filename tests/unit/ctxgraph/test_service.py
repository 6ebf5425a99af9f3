"""ctxgraph as agents and the gateway meet it: real sockets, real threads, real kills."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nullbox.ctxgraph import evidence
from nullbox.ctxgraph.batch import Write
from nullbox.ctxgraph.company import QUIET_S
from nullbox.ctxgraph.proofs import Checkpoint, check_consistency, check_inclusion
from nullbox.ctxgraph.quota import Limits
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.ctxgraph.store import Store
from nullbox.guest.nullbox_agent import Ctx, CtxError
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout

Client = Callable[..., Ctx]


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(run=tmp_path / "r", state=tmp_path / "s")


@pytest.fixture
def service(layout: Layout) -> Iterator[CtxgraphService]:
    running = CtxgraphService()
    running.start(layout)
    yield running
    running.stop()


@pytest.fixture
def agent(service: CtxgraphService) -> Iterator[Client]:
    """`agent(name, read=…, write=…)` → a client on that agent's socket."""
    clients: list[Ctx] = []

    def connect(name: str, read: tuple[str, ...] = ("",), write: tuple[str, ...] = ("",)) -> Ctx:
        path = service.open_channel(name, list(read), list(write))
        clients.append(Ctx(str(path), timeout=20.0, patience=10.0))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def host(service: CtxgraphService, layout: Layout) -> Iterator[Ctx]:
    client = Ctx(str(layout.ctx_host_socket))
    yield client
    client.close()


def refusal(call: Callable[[], Any]) -> CtxError:
    with pytest.raises(CtxError) as raised:
        call()
    return raised.value


def test_the_channel_says_who_writes_and_nothing_else_can(agent: Client) -> None:
    pulse, reader = agent("pulse"), agent("reader")
    address = pulse.write("k", 1)["hash"]
    assert reader.read(address)["agent_id"] == "pulse"
    assert reader.write("k", 1)["hash"] != address
    error = refusal(lambda: reader.call("write", {"key": "k", "value": 1, "agent_id": "pulse"}))
    assert (error.code, "unknown parameters: 'agent_id'" in str(error)) == ("invalid", True)


def test_prefixes_hold_for_every_method(agent: Client) -> None:
    owner = agent("owner")
    secret = owner.write("secret.k", "s")
    child = owner.write("open.k", 1, parents=[secret["hash"]])
    limited = agent("limited", read=("open.",), write=("open.mine.",))
    assert [entry["key"] for entry in limited.query("")] == ["open.k"]
    assert [entry["key"] for entry in limited.call("by_agent", {"agent_id": "owner"})["entries"]] == ["open.k"]
    limited.write("open.mine.x", 1)
    for call in (
        lambda: limited.write("open.k", 1),
        lambda: limited.read(secret["hash"]),
        lambda: limited.query("secret."),
        lambda: limited.history("secret.k"),
        lambda: limited.call("latest", {"key": "secret.k"}),
        lambda: limited.call("search", {"text": "s", "prefix": "secret."}),
        lambda: limited.call("watch", {"prefix": "secret."}),
        lambda: limited.call("graph", {"hash": secret["hash"]}),
        lambda: limited.call("prove", {"seq": 1}),
        lambda: limited.call("delete", {"key": "open.k"}),
        lambda: limited.call("erase", {"hash": child["hash"]}),
        lambda: limited.call("verify", {}),
        lambda: limited.call("export", {}),
        lambda: limited.call("agents", {}),
    ):
        assert refusal(call).code == "denied"
    graph = limited.call("graph", {"hash": child["hash"]})
    assert graph["nodes"][1] == {"hash": secret["hash"], "depth": 1, "hidden": True}
    assert limited.call("search", {"text": "s"})["entries"] == []


def test_the_graph_walks_both_ways(agent: Client) -> None:
    ctx = agent("a")
    source = ctx.write("source", "s")["hash"]
    left = ctx.write("left", 1, parents=[source])["hash"]
    right = ctx.write("right", 2, parents=[source])["hash"]
    conclusion = ctx.write("conclusion", 3, parents=[left, right])["hash"]
    up = ctx.call("graph", {"hash": conclusion})
    assert next(node["key"] for node in up["nodes"]) == "conclusion"
    assert {node["hash"] for node in up["nodes"]} == {conclusion, left, right, source}
    assert sorted(up["edges"]) == sorted([[conclusion, left], [conclusion, right], [left, source], [right, source]])
    down = ctx.call("graph", {"hash": source, "direction": "descendants"})
    assert {node["hash"] for node in down["nodes"]} == {conclusion, left, right, source}
    assert ctx.call("graph", {"hash": conclusion, "depth": 1})["truncated"]
    assert ctx.read(conclusion)["parents"] == [left, right]
    assert refusal(lambda: ctx.write("x", 1, parents=["0" * 64])).code == "invalid"


def test_conditional_writes_let_one_of_many_win(agent: Client) -> None:
    clients = [agent(f"a{n}") for n in range(8)]
    results: list[str] = []

    def compete(client: Ctx) -> None:
        try:
            client.write("lock", client is clients[0], expected_head=None)
            results.append("won")
        except CtxError as error:
            results.append(error.code)

    threads = [threading.Thread(target=compete, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(results) == ["conflict"] * 7 + ["won"]


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("write", {"key": "k"}, "invalid"),
        ("write", {"value": 1}, "invalid"),
        ("write", {"key": "", "value": 1}, "invalid"),
        ("write", {"key": "k\0", "value": 1}, "invalid"),
        ("write", {"key": "k", "value": 2**53}, "invalid"),
        ("write", {"key": "k", "value": "\ud800"}, "invalid"),
        ("write", {"key": "k", "value": "x" * 262_143}, "too_large"),
        ("write", {"key": "k", "value": 1, "ttl_s": 0}, "invalid"),
        ("write", {"key": "k", "value": 1, "ttl_s": "1"}, "invalid"),
        ("write", {"key": "k", "value": 1, "expected_head": "x"}, "invalid"),
        ("write", {"key": "k", "value": {"$ctxgraph": 1}}, "invalid"),
        ("read", {"hash": "x"}, "invalid"),
        ("read", {"hash": "0" * 64}, "not_found"),
        ("latest", {"key": "none"}, "not_found"),
        ("delete", {"key": "none"}, "not_found"),
        ("query", {"prefix": 5}, "invalid"),
        ("query", {"limit": 0}, "invalid"),
        ("query", {"limit": 1001}, "invalid"),
        ("query", {"limit": True}, "invalid"),
        ("query", {"order": "up"}, "invalid"),
        ("query", {"after": -1}, "invalid"),
        ("history", {}, "invalid"),
        ("search", {"text": "  "}, "invalid"),
        ("graph", {"hash": "0" * 64}, "not_found"),
        ("graph", {"hash": "0" * 64, "direction": "sideways"}, "invalid"),
        ("prove", {"seq": 99}, "not_found"),
        ("root", {"size": 99}, "invalid"),
        ("consistency", {"size": 99}, "conflict"),
        ("nonsense", {}, "not_found"),
    ],
)
def test_bad_requests_get_the_code_of_the_contract(host: Ctx, method: str, params: dict[str, Any], code: str) -> None:
    host.write("k", 0)
    assert refusal(lambda: host.call(method, params)).code == code
    assert host.query("")[0]["key"] == "k", "the connection goes on"


def test_values_come_back_as_they_were_written(agent: Client) -> None:
    ctx = agent("a")
    for value in (None, True, 0, -1.5, 1e300, 'é\n"\U0001f600', [], {}, {"b": [1, {"é": None}], "a": 2**53 - 1}):
        assert ctx.read(ctx.write("k", value)["hash"])["value"] == value
    assert ctx.read(ctx.write("k", "é" * 131_071)["hash"])["value"] == "é" * 131_071


def test_search_finds_words_and_knows_no_query_language(agent: Client) -> None:
    ctx = agent("a")
    ctx.write("notes.1", {"text": "the tide rises"})
    ctx.write("notes.2", {"text": "the TIDE falls"})
    ctx.write("other", "tide")
    found = ctx.call("search", {"text": "tide", "prefix": "notes."})["entries"]
    assert {entry["key"] for entry in found} == {"notes.1", "notes.2"}
    assert [entry["key"] for entry in ctx.call("search", {"text": "tide rises"})["entries"]] == ["notes.1"]
    for odd in ('"', "tide OR", "NEAR(", "value:tide", "*", "a AND (", "-tide ^"):
        ctx.call("search", {"text": odd})


def test_a_time_to_live_passes_by_itself(agent: Client) -> None:
    ctx = agent("a")
    events = ctx.watch("", since_seq=0)
    ctx.write("k", 1, ttl_s=0.05)
    assert next(events)["expires_ns"] > 0
    expired = next(events)
    assert (expired["event"], expired["key"]) == ("expire", "k")
    assert ctx.latest("k") is None
    events.close()  # type: ignore[attr-defined]


def test_the_rate_of_one_agent_is_held_and_others_write_on(layout: Layout) -> None:
    service = CtxgraphService()
    service.start(layout, limits=lambda agent: Limits(rate=5.0, burst=3) if agent == "busy" else None)
    busy = Ctx(str(service.open_channel("busy", [""], [""])))
    calm = Ctx(str(service.open_channel("calm", [""], [""])))
    errors = []
    for n in range(6):
        try:
            busy.write("k", n)
        except CtxError as error:
            errors.append(error)
    assert errors and errors[0].code == "denied"
    assert "writes faster than 5 a second" in str(errors[0])
    for n in range(10):
        calm.write("c", n)
    busy.close()
    calm.close()
    service.stop()


def test_a_service_that_starts_again_serves_the_same_channels(layout: Layout) -> None:
    service = CtxgraphService()
    service.start(layout)
    path = service.open_channel("pulse", ["pulse."], ["pulse."])
    service.open_channel("gone", [""], [""])
    service.close_channel("gone")
    client = Ctx(str(path), patience=20.0)
    client.write("pulse.n", 1)
    service.stop()
    again = CtxgraphService()
    again.start(layout)
    assert again.channels() == ["pulse"]
    assert client.latest("pulse.n")["value"] == 1  # type: ignore[index] # the same client, reconnected
    assert refusal(lambda: client.write("other", 1)).code == "denied"
    client.close()
    again.stop()


def test_opening_again_replaces_the_rights_of_open_connections(service: CtxgraphService, agent: Client) -> None:
    ctx = agent("a", write=("x.",))
    ctx.write("x.k", 1)
    assert service.open_channel("a", [""], ["y."]) == service.open_channel("a", [""], ["y."])
    assert refusal(lambda: ctx.write("x.k", 2)).code == "denied"
    ctx.write("y.k", 2)


def test_a_closed_channel_serves_nobody(service: CtxgraphService, layout: Layout) -> None:
    path = service.open_channel("a", [""], [""])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(path))
        raw.sendall(b'{"jsonrpc":"2.0","id":1,"method":"query"}\n')
        assert raw.recv(100).startswith(b'{"jsonrpc"')
        service.close_channel("a")
        service.close_channel("a")
        while raw.recv(4096):
            pass
    assert not path.exists()
    assert not (layout.ctx_sockets / "a.json").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", "", ".", "..", "@operator", "a\0b"])
def test_a_channel_needs_a_plain_name(service: CtxgraphService, name: str) -> None:
    with pytest.raises(NullBoxError) as raised:
        service.open_channel(name, [""], [""])
    assert raised.value.code is ErrorCode.INVALID


def test_an_unusable_record_grants_nothing(layout: Layout) -> None:
    layout.ctx_sockets.mkdir(parents=True)
    for name, text in (("a", "{"), ("b", '{"agent": "../x", "read": [""], "write": [""]}'), ("c", "[]")):
        (layout.ctx_sockets / f"{name}.json").write_text(text)
    service = CtxgraphService()
    service.start(layout)
    assert service.channels() == []
    service.stop()


def test_sockets_lie_in_folders_of_their_owner(service: CtxgraphService, layout: Layout) -> None:
    service.open_channel("a", [""], [""])
    for folder in (layout.ctx_sockets, layout.ctx_host_socket.parent, layout.ctx_socket("a").parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(layout.ctx_socket("a").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root gives sockets to other groups")
def test_the_socket_of_an_agent_is_for_its_user_also_after_a_restart(layout: Layout) -> None:
    for _ in range(2):
        service = CtxgraphService()
        service.start(layout)
        if not service.channels():
            service.open_channel("a", [""], [""], uid=1879048200)
        path = layout.ctx_socket("a")
        for place, mode in ((path, 0o660), (path.parent, 0o710)):
            found = place.stat()
            assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 1879048200, mode)
        service.stop()


def test_health_proves_that_all_parts_answer(service: CtxgraphService, agent: Client) -> None:
    agent("a").write("k", 1)
    report = service.health()
    assert (report["size"], report["channels"], report["behind"]) == (1, ["a"], 0)
    service._server.store.failed = NullBoxError(ErrorCode.UNAVAILABLE, "the disk failed")
    with pytest.raises(NullBoxError, match="the disk failed"):
        service.health()
    service._server.store.failed = None
    with pytest.raises(NullBoxError, match="runs already"):
        service.start(Layout())


def test_a_store_that_cannot_be_opened_leaves_nothing_running(layout: Layout) -> None:
    layout.ctx_store.parent.mkdir(parents=True)
    holder = Store(layout.ctx_store)
    service = CtxgraphService()
    with pytest.raises(NullBoxError, match="another process"):
        service.start(layout)
    holder.close()
    service.start(layout)
    service.stop()
    with pytest.raises(NullBoxError, match="does not run"):
        service.health()


# --- watch --------------------------------------------------------------------------------------------------


def test_a_watcher_sees_every_event_once_across_a_restart(layout: Layout) -> None:
    """Writers, a watcher that began in the past, and a service that goes away and comes back."""
    service = CtxgraphService()
    service.start(layout)
    path = str(service.open_channel("a", [""], [""]))
    writer, other = Ctx(path, patience=30.0), Ctx(path, patience=30.0)
    for n in range(30):
        writer.write("p.early", n)
        other.write("q.noise", n)
    seen: list[dict[str, Any]] = []
    complete = threading.Event()

    def follow() -> None:
        for entry in Ctx(path, patience=30.0).watch("p.", since_seq=0):
            seen.append(entry)
            if entry["value"] == "last":
                complete.set()
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    written = 0

    def produce() -> None:
        nonlocal written
        for n in range(300):
            writer.write("p.late", n)
            written += 1
        writer.write("p.late", "last")

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    deadline = time.monotonic() + 30
    while written < 100 and time.monotonic() < deadline:
        other.write("q.noise", written)
    service.stop()
    service = CtxgraphService()
    service.start(layout)
    assert complete.wait(60), f"{len(seen)} entries seen, {written} written"
    producer.join(30)
    writer.close()
    other.close()
    service.stop()
    reader = Reader(layout.ctx_store)
    everything: list[int] = []
    after: int | None = 0
    from nullbox.ctxgraph.query import Window
    from nullbox.ctxgraph.reader import NEVER

    while after is not None:
        page = reader.query(["p."], Window(after, NEVER), 100, kinds=4)
        everything += [entry.seq for entry in page.entries]
        after = page.next
    assert [entry["seq"] for entry in seen] == everything


def test_a_watcher_is_told_within_20_ms_of_the_acknowledgement(agent: Client) -> None:
    ctx, other = agent("a"), agent("b")
    arrived: list[float] = []
    news = threading.Semaphore(0)

    def follow() -> None:
        for _ in other.watch("", since_seq=0):
            arrived.append(time.monotonic())
            news.release()

    threading.Thread(target=follow, daemon=True).start()
    delays = []
    for n in range(50):
        ctx.write("k", n)
        acknowledged = time.monotonic()
        assert news.acquire(timeout=10)
        delays.append(arrived[-1] - acknowledged)
    assert sorted(delays)[25] < 0.020, delays


def test_a_watcher_too_slow_is_told_where_to_go_on(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nullbox.ctxgraph.watch.MAX_LAG", 50)
    ctx = agent("a")
    path = service.open_channel("b", [""], [""])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(20)
        raw.connect(str(path))
        raw.sendall(b'{"jsonrpc":"2.0","id":1,"method":"watch","params":{"since_seq":0}}\n')
        lines = raw.makefile("rb")
        assert b"subscription" in lines.readline()
        count = 0
        while count < 40:  # takes nothing meanwhile: the socket's buffers fill, then the stream waits
            ctx.write("k", {"n": count, "fill": "x" * 60_000})
            count += 1
        for _ in range(100):
            ctx.write("k", count)
            count += 1
        seen, end = [], None
        while end is None:
            message = json.loads(lines.readline())["params"]
            if message.get("end"):
                end = message["error"]
            else:
                seen.append(message["value"]["seq"])
    assert end["data"]["code"] == "unavailable"
    assert end["data"]["resume"] == seen[-1]
    assert seen == list(range(1, len(seen) + 1))
    rest = agent("b").watch("", since_seq=end["data"]["resume"])
    assert [next(rest)["seq"] for _ in range(count - len(seen))] == list(range(len(seen) + 1, count + 1))


# --- bad company --------------------------------------------------------------------------------------------


def test_nonsense_and_stalls_cost_only_their_own_client(service: CtxgraphService, agent: Client) -> None:
    good = agent("good")
    path = service.open_channel("bad", [""], [""])
    with contextlib.ExitStack() as stack:

        def connect() -> socket.socket:
            raw = stack.enter_context(socket.socket(socket.AF_UNIX))
            raw.settimeout(10)
            raw.connect(str(path))
            return raw

        half = connect()
        half.sendall(b'{"jsonrpc":"2.0","id":1,"meth')
        loud = connect()
        with contextlib.suppress(OSError):
            loud.sendall(b"\xff{{{nonsense\n" * 2000)
        endless = connect()
        with contextlib.suppress(OSError):
            endless.sendall(b"x" * (3 << 20))
        deaf = connect()
        for n in range(60):
            deaf.sendall(json.dumps({"jsonrpc": "2.0", "id": n, "method": "query"}).encode() + b"\n")
        started = time.monotonic()
        for n in range(50):
            good.write("k", n)
        assert time.monotonic() - started < 20
        assert len(good.query("k", limit=50)) == 50


# --- crashes ------------------------------------------------------------------------------------------------

SERVE = """
import sys, threading
from pathlib import Path
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.protocols.layout import Layout
service = CtxgraphService()
service.start(Layout(run=Path(sys.argv[1]), state=Path(sys.argv[2])))
for name in sys.argv[3:]:
    service.open_channel(name, [""], [""])
print("ready", flush=True)
threading.Event().wait()
"""


def serve(layout: Layout, *names: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", SERVE, str(layout.run), str(layout.state), *names]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.slow
def test_two_agents_exchange_1000_entries_across_a_sigkill(layout: Layout) -> None:
    """One writes, the other watches and answers; the store's process is killed twice on the way."""
    process = serve(layout, "ping", "pong")
    ping = Ctx(str(layout.ctx_socket("ping")), patience=60.0)
    acknowledged: dict[int, str] = {}
    answers: dict[int, str] = {}
    finished = threading.Event()

    def answer() -> None:
        pong = Ctx(str(layout.ctx_socket("pong")), patience=60.0)
        for entry in pong.watch("ping.", since_seq=0):
            ack = pong.write("pong.n", entry["value"])
            answers[ack["seq"]] = ack["hash"]
            if entry["value"] == 499:
                finished.set()
                return

    threading.Thread(target=answer, daemon=True).start()
    for n in range(500):
        ack = ping.write("ping.n", n)
        acknowledged[ack["seq"]] = ack["hash"]
        if n in (150, 350):
            process.kill()
            process.wait()
            process = serve(layout)  # the channels are remembered
    assert finished.wait(60)
    process.kill()
    process.wait()
    store = Store(layout.ctx_store)  # replays what the killed process left in the WAL
    store.close()
    reader = Reader(layout.ctx_store)
    assert len(acknowledged) == 500
    for seq, address in {**acknowledged, **answers}.items():
        assert evidence.prove(reader, seq)["record"]["hash"] == address
    values = {reader.read(bytes.fromhex(address)).text for address in answers.values()}
    assert values == {str(n) for n in range(500)}
    assert evidence.audit(reader)["ok"]


# --- evidence over the wire ---------------------------------------------------------------------------------


def test_checkpoints_proofs_and_export_hold_for_an_outsider(host: Ctx, agent: Client, tmp_path: Path) -> None:
    ctx = agent("a")
    for n in range(40):
        ctx.write(f"k.{n % 3}", n)
    old = host.call("root", {})
    secret = ctx.write("k.secret", "forget me")["hash"]
    ctx.call("erase", {"hash": secret})
    ctx.call("delete", {"key": "k.1"})
    for n in range(300):
        ctx.write("k.more", {"n": n, "f": n / 7}, ttl_s=1000)
    new = host.call("root", {})
    proof = host.call("prove", {"hash": secret})
    check_inclusion(Checkpoint(new["size"], new["root"]), proof)
    between = host.call("consistency", {"size": old["size"], "root": old["root"]})
    check_consistency(Checkpoint(**old), Checkpoint(**new), between["path"])
    assert refusal(lambda: host.call("consistency", {"size": old["size"], "root": "0" * 64})).code == "conflict"
    report = host.call("verify", {})
    assert report["ok"], report

    lines = exported(host, proofs=True)
    assert lines[0]["root"] == new["root"]
    for line in lines[1:]:
        check_inclusion(
            Checkpoint(new["size"], new["root"]),
            {**{name: lines[0][name] for name in ("size", "root")}, "record": line["record"], "path": line["path"]},
        )


def exported(host: Ctx, **params: Any) -> list[dict[str, Any]]:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(30)
        raw.connect(str(host._path))
        request = {"jsonrpc": "2.0", "id": 1, "method": "export", "params": params}
        raw.sendall(json.dumps(request).encode() + b"\n")
        incoming = raw.makefile("rb")
        incoming.readline()
        found = []
        for line in incoming:
            message = json.loads(line)["params"]
            if message.get("end"):
                assert "error" not in message
                return found
            found.append(message["value"])
    raise AssertionError("the stream did not end")


def test_an_agent_that_takes_all_its_connections_takes_nobody_elses(
    service: CtxgraphService, agent: Client, host: Ctx
) -> None:
    path = service.open_channel("greedy", [""], [""])
    with contextlib.ExitStack() as stack:
        answers = []
        for _ in range(40):
            raw = stack.enter_context(socket.socket(socket.AF_UNIX))
            raw.settimeout(10)
            raw.connect(str(path))
            with contextlib.suppress(ConnectionError):
                raw.sendall(b'{"jsonrpc":"2.0","id":1,"method":"query"}\n')
                answers.append(b"result" in raw.recv(1 << 16))
        assert 0 < sum(answers) <= 16
        agent("modest").write("k", 1)
        assert host.query("k")


def test_an_agents_slow_queries_wait_for_each_other_only(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twelve searches that each take half a second, all of one agent, beside another agent's queries."""
    release = threading.Event()
    real = Reader.search

    def slow(self: Reader, *arguments: Any) -> Any:
        release.wait(20)
        return real(self, *arguments)

    monkeypatch.setattr(Reader, "search", slow)
    good = agent("good")
    good.write("k", 1)
    path = service.open_channel("slow", [""], [""])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(30)
        raw.connect(str(path))
        for n in range(12):
            request = {"jsonrpc": "2.0", "id": n, "method": "search", "params": {"text": "x"}}
            raw.sendall(json.dumps(request).encode() + b"\n")
        for _ in range(20):
            assert good.query("k")
        assert service.health()["size"] == 1
        release.set()
        lines = raw.makefile("rb")
        assert all(b"result" in lines.readline() for _ in range(12))


def test_writes_of_one_agent_that_wait_for_the_disk_are_bounded(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("nullbox.ctxgraph.server.WRITES_PER_AGENT", 5)
    gate = threading.Event()
    real = service._server.store.apply

    def held(ops: Any) -> Any:
        gate.wait(20)
        return real(ops)

    monkeypatch.setattr(service._server.store, "apply", held)
    path = service.open_channel("flood", [""], [""])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(30)
        raw.connect(str(path))
        lines = raw.makefile("rb")
        for n in range(9):
            request = {"jsonrpc": "2.0", "id": n, "method": "write", "params": {"key": "k", "value": n}}
            raw.sendall(json.dumps(request).encode() + b"\n")
        refused = [json.loads(lines.readline()) for _ in range(4)]
        assert {answer["error"]["data"]["code"] for answer in refused} == {"unavailable"}
        gate.set()
        assert all(b"result" in lines.readline() for _ in range(5))
    agent("calm").write("k", 1)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_when_the_writer_dies_whoever_waits_is_told_at_once(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of ours, which SQLite knows nothing of: in an actor it is the actor's crash."""
    gate = threading.Event()

    def broken(ops: Any) -> Any:
        gate.wait(20)
        raise RuntimeError("a fault inside")

    monkeypatch.setattr(service._server.store, "apply", broken)
    path = service.open_channel("many", [""], [""])
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(8)  # less than the deadline of a call
        raw.connect(str(path))
        lines = raw.makefile("rb")
        for n in range(5):
            request = {"jsonrpc": "2.0", "id": n, "method": "write", "params": {"key": "k", "value": n}}
            raw.sendall(json.dumps(request).encode() + b"\n")
        assert agent("other").query("k") == [], "the requests before this one have arrived"
        gate.set()
        errors = [json.loads(lines.readline())["error"] for _ in range(5)]
    assert {error["data"]["code"] for error in errors} == {"unavailable"}
    assert all("a fault inside" in error["message"] for error in errors)
    assert refusal(lambda: agent("other").write("k", 1)).code == "unavailable"
    with pytest.raises(NullBoxError, match="a fault inside"):
        service.health()


def test_who_is_alone_is_answered_by_the_loop_and_company_by_groups(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread that commits: the connections' own for a lone client on a quick disk, the writer's as soon as another
    one calls, as requests come together, and when the disk turns slow."""
    names: list[str] = []
    store = service._server.store
    real = store.apply

    def apply(ops: Any) -> Any:
        if any(isinstance(op, Write) for op in ops):
            names.append(threading.current_thread().name)
        return real(ops)

    monkeypatch.setattr(store, "apply", apply)
    pace = service._server.writer._pace
    monkeypatch.setattr(type(pace), "quick", True)
    now = [0.0]
    monkeypatch.setattr(service._server, "_monotonic", lambda: now[0])
    lone, other = agent("lone"), agent("other")

    def committed_by(write: Callable[[], Any]) -> str:
        names.clear()
        write()
        return names[0]

    assert committed_by(lambda: lone.write("k", 0)) == "ctxgraph-writer", "who comes first may not be the only one"
    now[0] += 2 * QUIET_S
    assert committed_by(lambda: lone.write("k", 1)) == "ctxgraph"
    assert lone.latest("k")["value"] == 1
    assert committed_by(lambda: other.write("k", 1)) == "ctxgraph-writer"
    assert committed_by(lambda: lone.write("k", 2)) == "ctxgraph-writer", "the other one may be back at once"
    now[0] += 2 * QUIET_S
    assert committed_by(lambda: lone.write("k", 3)) == "ctxgraph"
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(10)
        raw.connect(str(lone._path))
        names.clear()
        lines = [
            json.dumps({"jsonrpc": "2.0", "id": n, "method": "write", "params": {"key": "k", "value": n}}).encode()
            for n in range(20)
        ]
        raw.sendall(b"\n".join(lines) + b"\n")
        incoming = raw.makefile("rb")
        assert all(b"result" in incoming.readline() for _ in lines)
    assert set(names) == {"ctxgraph-writer"}
    assert len(names) < len(lines)
    now[0] += 2 * QUIET_S
    monkeypatch.setattr(type(pace), "quick", False)
    assert committed_by(lambda: lone.write("k", 4)) == "ctxgraph-writer"


def test_what_the_store_denies_is_on_record_however_it_was_committed(
    service: CtxgraphService, agent: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = agent("owner").write("k", "mine")["hash"]
    thief = agent("thief")
    now = [0.0]
    monkeypatch.setattr(service._server, "_monotonic", lambda: now[0])
    for quick in (False, True):
        monkeypatch.setattr(type(service._server.writer._pace), "quick", quick)
        thief.latest("k")
        now[0] += 2 * QUIET_S
        error = refusal(lambda: thief.call("erase", {"hash": address}))
        assert error.code == "denied"
    (denial,) = service.denials()
    assert (denial["agent"], denial["kind"], denial["name"]) == ("thief", "ctxgraph erase", address)
    assert denial["count"] == 2

"""The methods as agents and the gateway call them, over real sockets."""

from __future__ import annotations

import json
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
from ctx_clients import Client, refusal

from nullbox.ctxgraph.proofs import Checkpoint, check_consistency, check_inclusion
from nullbox.guest.nullbox_agent import Ctx, CtxError


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

"""Who is calling is known by the channel: names, rights, sockets, what a restart remembers."""

from __future__ import annotations

import os
import socket
import stat

import pytest
from ctx_clients import Client, refusal

from nullbox.ctxgraph.company import QUIET_S
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.guest.nullbox_agent import Ctx
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout


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

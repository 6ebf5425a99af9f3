"""The gateway before the real store: every method of its table, with every parameter it names, is taken there."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nullbox.client import Nulld
from nullbox.ctxgraph.merkle import EMPTY_ROOT
from nullbox.ctxgraph.methods import METHODS as STORE
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.gateway.memory import MemoryBackend
from nullbox.gateway.methods import METHODS
from nullbox.gateway.service import GatewayService
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout


@pytest.fixture(scope="module")
def nulld() -> Iterator[Nulld]:
    with tempfile.TemporaryDirectory(prefix="nb") as folder:
        layout = Layout(Path(folder) / "run", Path(folder) / "var", Path(folder) / "system")
        store = CtxgraphService()
        store.start(layout)
        service = GatewayService(MemoryBackend(), layout, {"operators": {"uids": [os.getuid()]}})
        service.start()
        try:
            with Nulld(layout.gateway_socket) as nulld:
                yield nulld
        finally:
            service.stop()
            store.stop()


def test_the_tables_name_the_same_methods() -> None:
    assert {name.removeprefix("ctx.") for name in METHODS if name.startswith("ctx.")} == set(STORE)


@pytest.mark.parametrize("method", [name for name in METHODS if name.startswith("ctx.")])
def test_every_parameter_is_known_to_the_store(nulld: Nulld, method: str) -> None:
    entry = nulld.ctx_write("notes.a", {"words": "quick brown fox"})
    samples: dict[str, Any] = {
        "key": "notes.a",
        "prefix": "notes.",
        "hash": entry["hash"],
        "seq": entry["seq"],
        "size": entry["seq"],
        "agent_id": "@operator",
        "text": "brown",
        "value": 1,
        "limit": 5,
        "after": 1,
        "order": "desc",
        "as_of": entry["seq"],
        "since_seq": 0,
        "depth": 2,
        "proofs": True,
        "ttl_s": 60,
        "start": {"ctxgraph": 1, "size": 0, "root": EMPTY_ROOT.hex(), "prefixes": [""]},
        "lines": [],
    }
    for param in METHODS[method].params:
        required = {each.name: samples[each.name] for each in METHODS[method].params if each.required}
        if param.name not in samples:
            continue
        given = {**required, param.name: samples[param.name]}
        if method == "ctx.prove":
            given = {"hash": entry["hash"], **given} if "seq" not in given else given
        if method == "ctx.watch":
            given["since_seq"] = 0  # or it would wait for what is new
        try:
            if METHODS[method].streams:
                with nulld.stream(method, **given) as stream:
                    assert stream.next(10) is not None
            else:
                assert nulld.call(method, **given) is not None
        except NullBoxError as error:
            # The sample may be refused for what it is (an erased value), never for being unknown.
            assert "unknown param" not in error.message
            assert error.code in (ErrorCode.NOT_FOUND, ErrorCode.INVALID), error


def test_an_operators_look_at_the_store(nulld: Nulld) -> None:
    first = nulld.ctx_write("tour.a", {"n": 1})
    second = nulld.ctx_write("tour.a", {"n": 2})
    nulld.ctx_write("tour.a", {"n": 1})
    assert nulld.ctx_latest("tour.a")["value"] == {"n": 1}
    assert [entry["value"]["n"] for entry in nulld.ctx_history("tour.a")["entries"]] == [1, 2, 1]
    assert nulld.ctx_read(second["hash"])["value"] == {"n": 2}
    assert [entry["key"] for entry in nulld.ctx_query("tour.", limit=2, order="desc")["entries"]] == ["tour.a"] * 2
    assert nulld.ctx_status()["size"] >= 3
    nulld.ctx_verify()
    exported = list(nulld.ctx_export("tour."))
    assert len(exported) >= 4
    assert next(iter(nulld.ctx_watch("tour.", first["seq"] - 1)))["hash"] == first["hash"]
    assert any(each["agent_id"] == "@operator" for each in nulld.ctx_agents())
    nulld.ctx_delete("tour.a")
    with pytest.raises(NullBoxError) as caught:
        nulld.ctx_latest("tour.a")
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_a_conflict_passes_with_its_data(nulld: Nulld) -> None:
    head = nulld.ctx_write("race.a", 1)["hash"]
    with pytest.raises(NullBoxError) as caught:
        nulld._client.call("ctx.write", {"key": "race.a", "value": 2, "expected_head": None})
    assert caught.value.code is ErrorCode.CONFLICT
    assert caught.value.data["head"] == head

"""Any parameters whatever: an answer or a refusal of the contract, never an accident inside."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sizes import sized

from nullbox.ctxgraph.methods import METHODS
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.guest.nullbox_agent import Ctx, CtxError
from nullbox.protocols.layout import Layout

NAMES = [
    "key",
    "value",
    "hash",
    "prefix",
    "limit",
    "after",
    "order",
    "as_of",
    "agent_id",
    "text",
    "since_seq",
    "expected_head",
    "ttl_s",
    "parents",
    "direction",
    "depth",
    "size",
    "root",
    "seq",
    "new_size",
    "proofs",
]

odd = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**80), 2**80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["k", "", "\0", "asc", "desc", "0" * 64, "f" * 64, "\U0010ffff", "a.b", "descendants"])
    | st.just({"$ctxgraph": 1, "parents": [], "value": None}),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ctx]:
    folder: Path = tmp_path_factory.mktemp("fuzz")
    layout = Layout(run=folder / "r", state=folder / "s")
    service = CtxgraphService()
    service.start(layout)
    client = Ctx(str(layout.ctx_host_socket), patience=0.0)
    client.write("k", 1)
    yield client
    assert client.call("verify", {})["ok"]
    client.close()
    service.stop()


@settings(max_examples=sized(400), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(METHODS.keys() - {"watch", "export", "verify"})),
    st.dictionaries(st.sampled_from(NAMES), odd, max_size=5),
)
@example("query", {"as_of": 2**63})
@example("query", {"after": 2**62})
@example("query", {"after": 2**62, "order": "desc"})
@example("prove", {"seq": 2**62})
@example("consistency", {"size": 2**62})
@example("latest", {"key": "k", "as_of": 0})
@example("write", {"key": "k", "value": 1, "ttl_s": 1e-300})
@example("search", {"text": "\0"})
@example("search", {"text": "\ud800"})
def test_every_answer_is_one_of_the_contract(host: Ctx, method: str, params: dict[str, Any]) -> None:
    try:
        host.call(method, params)
    except CtxError as error:
        assert error.code not in ("internal", "unavailable", "timeout"), (str(error), method, params)

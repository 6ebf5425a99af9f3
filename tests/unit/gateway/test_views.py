"""Status and lists, made from nodes of a tree."""

from __future__ import annotations

import pytest

from nullbox.gateway import views
from nullbox.gateway.memory import MemoryBackend
from nullbox.gateway.schema import AGENT_STATES
from nullbox.protocols.errors import ErrorCode, NullBoxError


def test_services_and_agents_are_told_apart() -> None:
    tree = MemoryBackend(["pulse"]).nodes
    assert [each["name"] for each in views.services(tree)] == ["egress", "ctxgraph", "gateway"]
    assert [each["name"] for each in views.agents(tree)] == ["pulse"]


def test_health_is_the_services_and_not_the_agents() -> None:
    backend = MemoryBackend(["pulse"])
    backend.set("cage:pulse", state="failed")
    assert views.healthy(backend.nodes)
    backend.set("egress", state="stopped", wanted=False)
    assert views.healthy(backend.nodes)
    backend.set("ctxgraph", state="backoff")
    assert not views.healthy(backend.nodes)


def test_an_old_snapshot_is_no_health() -> None:
    tree = MemoryBackend().nodes
    assert views.healthy(tree, age=1.0)
    assert not views.healthy(tree, age=60.0)


def test_an_unknown_agent_is_answered_with_the_known_ones() -> None:
    with pytest.raises(NullBoxError, match=r"no agent 'plse'; did you mean 'pulse'\?; there are: pulse, reader") as e:
        views.find(MemoryBackend().nodes, "plse")
    assert e.value.code is ErrorCode.NOT_FOUND
    with pytest.raises(NullBoxError, match="there are: none"):
        views.find(MemoryBackend([]).nodes, "pulse")


@pytest.mark.parametrize("state", AGENT_STATES)
@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_wrong_state_says_what_would_be_right(state: str, verb: str) -> None:
    backend = MemoryBackend(["pulse"])
    backend.set("cage:pulse", state=state)
    node = views.find(backend.nodes, "pulse")
    if (verb, state) in {("pause", "running"), ("resume", "paused")}:
        views.check_state(node, verb)
        return
    with pytest.raises(NullBoxError) as caught:
        views.check_state(node, verb)
    assert caught.value.code is ErrorCode.WRONG_STATE
    assert caught.value.data == {"state": state}
    assert f"is {views.IN_WORDS.get(state, state)}" in caught.value.message
    assert ";" in caught.value.message

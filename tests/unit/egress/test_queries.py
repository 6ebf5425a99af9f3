from __future__ import annotations

from typing import Any

import pytest

from nullbox.egress.events import Denial
from nullbox.egress.memory import MemoryFirewall, MemoryResolvers, MemoryTaps
from nullbox.egress.policy import parse_policy
from nullbox.egress.queries import VERBS, answer
from nullbox.egress.ruleset import Base
from nullbox.egress.service import EgressService
from nullbox.protocols.errors import ErrorCode, NullBoxError


@pytest.fixture
def service() -> EgressService:
    built = EgressService(Base(("eth0",)), MemoryFirewall(), MemoryTaps(), MemoryResolvers(), wall=lambda: 50.0)
    built.prepare()
    built.open_link("pulse", parse_policy(["api.example.com"]))
    return built


PARAMS: dict[str, dict[str, Any]] = {
    "rules": {"agent": None},
    "explain": {"agent": "pulse", "target": "api.example.com"},
    "log": {"since": 0, "agent": None},
    "flush_dns": {"agent": "pulse"},
    "learn": {"agent": "pulse", "on": False},
    "learned": {"agent": "pulse"},
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_answers_in_plain_data(service: EgressService, verb: str) -> None:
    import json

    json.dumps(answer(service, verb, PARAMS[verb]))


@pytest.mark.parametrize("verb", ["explain", "flush_dns", "learn", "learned"])
def test_a_missing_parameter_is_named(service: EgressService, verb: str) -> None:
    with pytest.raises(NullBoxError, match="'agent'") as caught:
        answer(service, verb, {})
    assert caught.value.code is ErrorCode.INVALID


@pytest.mark.parametrize("verb", ["rules", "explain", "flush_dns", "learn", "learned"])
def test_an_unknown_agent_is_not_found(service: EgressService, verb: str) -> None:
    with pytest.raises(NullBoxError) as caught:
        answer(service, verb, {**PARAMS[verb], "agent": "nobody"})
    assert caught.value.code is ErrorCode.NOT_FOUND


def test_an_unknown_verb_names_the_known(service: EgressService) -> None:
    with pytest.raises(NullBoxError, match="explain, flush_dns, learn, learned, log, rules"):
        answer(service, "dance", {})


def test_the_log_goes_on_from_a_number(service: EgressService) -> None:
    service.events.add(Denial("pulse", "unlisted name", "evil.org"), 1.0)
    service.events.add(Denial("other", "packet"), 2.0)
    assert [one["name"] for one in answer(service, "log", {"agent": "pulse"})] == ["evil.org"]
    assert [one["agent"] for one in answer(service, "log", {"since": 1, "agent": None})] == ["other"]


def test_learning_needs_the_operators_word_and_keeps_the_grants(service: EgressService) -> None:
    with pytest.raises(NullBoxError, match=r"egress\.learn = true") as caught:
        answer(service, "learn", {"agent": "pulse"})
    assert caught.value.code is ErrorCode.DENIED
    before = service.link("pulse").marks
    service.may_learn = True
    assert answer(service, "learn", {"agent": "pulse"})["learning"]
    service.pin("pulse", "anything.example.net", ["45.0.0.1"], 60)
    assert answer(service, "explain", {"agent": "pulse", "target": "45.0.0.1:99"})["allowed"]
    assert not answer(service, "learn", {"agent": "pulse", "on": False})["learning"]
    assert service.link("pulse").marks == before
    assert not answer(service, "explain", {"agent": "pulse", "target": "45.0.0.1:99"})["allowed"]

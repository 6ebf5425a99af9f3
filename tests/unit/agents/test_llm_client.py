"""The sample agent that asks a language model, against a local server that stands in for one."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest
from standin import completion

from nullbox.guest.nullbox_agent import Ctx

Load = Callable[[str], ModuleType]


@pytest.fixture
def client(agent: Load, server: Any, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setenv("LLM_BASE_URL", f"{server.url}/v1/")
    monkeypatch.setenv("OPENAI_KEY", "sk-secret")
    monkeypatch.delenv("LLM_MODEL", raising=False)
    return agent("llm-client")


def question(operator: Ctx, value: Any) -> dict[str, Any]:
    return operator.read(operator.write("llm.ask.sky", value)["hash"])


def test_a_question_is_asked_in_the_api_s_form_and_its_answer_kept(
    client: ModuleType, operator: Ctx, server: Any
) -> None:
    server.answers = [(200, {}, completion())]
    asked = question(operator, {"prompt": "Why is the sky blue?", "system": "Be brief."})
    client.serve(asked)
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sk-secret"
    assert json.loads(body) == {
        "model": client.MODEL,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Why is the sky blue?"},
        ],
        "max_tokens": 512,
    }
    answer = operator.latest("llm.answer.sky")
    assert answer is not None
    assert answer["parents"] == [asked["hash"]]
    assert answer["value"]["value"] == {
        "text": "Because.",
        "model": "standin-1",
        "finish": "stop",
        "tokens": 7,
        "question_seq": asked["seq"],
    }


def test_a_busy_server_is_asked_again_when_it_says(client: ModuleType, operator: Ctx, server: Any) -> None:
    server.answers = [(429, {"Retry-After": "9"}, b"{}"), (502, {}, b"<html>"), (200, {}, completion())]
    pauses: list[float] = []
    client.serve(question(operator, {"prompt": "x"}), pauses.append)
    assert pauses == [9.0, 18.0]
    assert operator.latest("llm.answer.sky") is not None


def test_a_refusal_is_recorded_with_the_server_s_reason_and_without_the_key(
    client: ModuleType, operator: Ctx, server: Any
) -> None:
    server.answers = [(401, {}, b'{"error": {"message": "wrong key"}}')]
    client.serve(question(operator, {"prompt": "x"}))
    assert len(server.requests) == 1
    failed = operator.latest("llm.failed.sky")
    assert failed is not None
    assert failed["value"]["value"]["reason"] == "HTTP status 401: wrong key (after 1 tries)"
    assert "sk-secret" not in json.dumps(failed)


@pytest.mark.parametrize(
    "body", [b"[]", b"{}", b'{"choices": []}', completion(None), completion(7), b'"x"', b"nonsense"]
)
def test_an_answer_that_is_none_is_a_failure(client: ModuleType, operator: Ctx, server: Any, body: bytes) -> None:
    server.answers = [(200, {}, body)]
    client.serve(question(operator, {"prompt": "x"}), lambda seconds: None)
    assert operator.latest("llm.failed.sky") is not None


@pytest.mark.parametrize("value", [None, "x", {}, {"prompt": 7}])
def test_a_question_that_is_none_reaches_no_server(client: ModuleType, operator: Ctx, server: Any, value: Any) -> None:
    client.serve(question(operator, value))
    assert server.requests == []
    assert operator.latest("llm.failed.sky") is not None


def test_without_a_key_none_is_sent(
    client: ModuleType, operator: Ctx, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_KEY")
    server.answers = [(200, {}, completion())]
    client.serve(question(operator, {"prompt": "x"}))
    assert "Authorization" not in server.requests[0][1]

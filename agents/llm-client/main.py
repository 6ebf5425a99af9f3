"""Answer what is asked under `llm.ask.` by a language model, under `llm.answer.`, with the question as parent.

    nullctl ctx write llm.ask.first '{"prompt": "Why is the sky blue?"}'
    nullctl ctx latest llm.answer.first

It speaks the "chat completions" API that many servers offer. Where and with which model is in the environment, or the
defaults below: LLM_BASE_URL, LLM_MODEL, and the key in OPENAI_KEY (which a server in one's own network may not want). A
question may name its own `model`, `system` text and `max_tokens`. What fails for good goes to `llm.failed.`.
"""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from nullbox_agent import ctx, log

ASK, ANSWER, FAILED = "llm.ask.", "llm.answer.", "llm.failed."
BASE_URL = "https://api.openai.com/v1"
MODEL = "gpt-4o-mini"
TIMEOUT = 120.0
TRIES = 4
LONGEST_PAUSE = 60.0
MOST = 1 << 20
"""Bytes of an answer that are read."""


def main() -> None:
    log("llm-client waits for questions under", ASK)
    since = max((entry["value"]["value"]["question_seq"] for entry in ctx.own(ANSWER) + ctx.own(FAILED)), default=0)
    for question in ctx.watch(ASK, since_seq=since):
        if "event" not in question:
            serve(question)


def serve(question: dict[str, Any], pause: Callable[[float], None] = time.sleep) -> None:
    """Ask the model and record what it said, or why it did not."""
    name = question["key"].removeprefix(ASK)
    try:
        prefix, found = ANSWER, understood(ask(body_of(question["value"]), pause))
    except Failed as error:
        prefix, found = FAILED, {"reason": str(error)}
    ctx.write(prefix + name, found | {"question_seq": question["seq"]}, parents=[question["hash"]])
    log(f"{prefix}{name}: {found.get('reason') or found.get('tokens')}")


class Failed(Exception):
    """There is no answer; the text says why. It never holds the key."""


def body_of(value: Any) -> dict[str, Any]:
    """The request for one question. Raises Failed."""
    if not isinstance(value, dict) or not isinstance(value.get("prompt"), str):
        raise Failed('a question is {"prompt": "…"}')
    messages = [{"role": "user", "content": value["prompt"]}]
    if "system" in value:
        messages.insert(0, {"role": "system", "content": str(value["system"])})
    model = value.get("model") or os.environ.get("LLM_MODEL") or MODEL
    return {"model": model, "messages": messages, "max_tokens": value.get("max_tokens", 512)}


def ask(body: dict[str, Any], pause: Callable[[float], None]) -> Any:
    """Send the request; when the server has too much to do, again later, as it says. Raises Failed."""
    headers = {"Content-Type": "application/json"}
    if key := os.environ.get("OPENAI_KEY"):
        headers["Authorization"] = f"Bearer {key}"
    url = os.environ.get("LLM_BASE_URL", BASE_URL).rstrip("/") + "/chat/completions"
    wait = 1.0
    for attempt in range(1, TRIES + 1):
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)  # noqa: S310 - the agent's own URL
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
                return json.loads(answer.read(MOST))
        except urllib.error.HTTPError as error:
            reason, again = f"HTTP status {error.code}: {said(error)}", error.code == 429 or error.code >= 500
            wait = max(wait, seconds(error.headers.get("Retry-After")))
        except (OSError, ValueError) as error:
            reason, again = str(getattr(error, "reason", error)), isinstance(error, OSError)
        if not again or attempt == TRIES:
            raise Failed(f"{reason} (after {attempt} tries)")
        pause(min(wait, LONGEST_PAUSE))
        wait *= 2
    raise AssertionError("the loop returns or raises")


def understood(answer: Any) -> dict[str, Any]:
    """Text, model and cost from the server's answer. Raises Failed."""
    try:
        choice = answer["choices"][0]
        text = choice["message"]["content"]
        if not isinstance(text, str):
            raise TypeError("no text")
        usage = answer.get("usage") or {}
        return {
            "text": text,
            "model": answer.get("model"),
            "finish": choice.get("finish_reason"),
            "tokens": usage.get("total_tokens"),
        }
    except (AttributeError, IndexError, KeyError, TypeError) as error:
        raise Failed(f"the server's answer is none of the chat completions API: {error!r}") from None


def said(error: urllib.error.HTTPError) -> str:
    """The reason in the body of an error, shortened."""
    try:
        with error:
            return str(json.loads(error.read(4096))["error"]["message"])[:200]
    except (OSError, ValueError, LookupError, TypeError):
        return error.reason


def seconds(text: str | None) -> float:
    """Retry-After (RFC 9110, 10.2.3) in its form with seconds; 0 for none and for a date."""
    return float(text) if text is not None and text.isdecimal() else 0.0


if __name__ == "__main__":
    main()

"""Answers as lines, whatever a handler returned: what is no JSON, or too long, becomes an error in its place. Pure."""

from __future__ import annotations

import logging
from typing import Any

from nullbox.protocols import jsonrpc
from nullbox.protocols.errors import ErrorCode, NullBoxError

log = logging.getLogger(__name__)

Answer = dict[str, Any] | list[dict[str, Any]]
"""One answer, or those of a batch. A `result` may be `jsonrpc.Encoded`, but not in a batch."""


def answer_line(answer: Answer, limit: int) -> bytes:
    """One line of at most `limit` bytes and its newline, for one answer or those of a batch."""
    try:
        if type(answer) is dict and type(answer.get("result")) is jsonrpc.Encoded:
            line = jsonrpc.encode_result(answer["id"], answer["result"])
        else:
            line = jsonrpc.encode(answer)
    except (TypeError, ValueError):
        log.exception("an answer that is not JSON")
        line = _instead(answer, ErrorCode.INTERNAL, "the answer could not be written as JSON")
    if len(line) > limit + 1:
        line = _instead(answer, ErrorCode.TOO_LARGE, f"the answer is over {limit} bytes; ask for less at a time")
    return line


def _instead(answer: Answer, code: ErrorCode, text: str) -> bytes:
    error = NullBoxError(code, text)
    if isinstance(answer, list):
        return jsonrpc.encode([jsonrpc.failure(item.get("id"), error) for item in answer])
    return jsonrpc.encode(jsonrpc.failure(answer.get("id"), error))

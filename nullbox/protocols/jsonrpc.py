"""JSON-RPC 2.0 (https://www.jsonrpc.org/specification): lines to requests and answers, and back. Pure.

The transport frames messages as lines (`protocols.framing`), so everything that is built here is one line with its
newline: of ASCII, but for values that came as text (`Encoded`), which may be any UTF-8. Errors carry the numeric code
of the specification and, in `data.code`, the word of `protocols.errors.ErrorCode` that programs decide by.

Subscriptions are not part of JSON-RPC; this is our convention, used by the gateway and by ctxgraph alike:
a method that streams answers `{"subscription": ID}`; then come notifications `stream` with
`{"subscription": ID, "value": …}`, and a last one with `{"subscription": ID, "end": true}`, plus `"error"`
when the stream failed. `stream.cancel {"subscription": ID}` ends one; nothing of it follows its answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple, NoReturn

from nullbox.protocols.errors import ErrorCode, NullBoxError

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603

NUMERIC_CODES: Mapping[ErrorCode, int] = MappingProxyType(
    {
        ErrorCode.INVALID: INVALID_PARAMS,
        ErrorCode.INTERNAL: INTERNAL_ERROR,
        ErrorCode.NOT_FOUND: -32001,
        ErrorCode.WRONG_STATE: -32002,
        ErrorCode.DENIED: -32003,
        ErrorCode.TIMEOUT: -32004,
        ErrorCode.UNAVAILABLE: -32005,
        ErrorCode.CONFLICT: -32006,
        ErrorCode.TOO_LARGE: -32007,
    }
)
"""Word → number. -32001 … -32007 lie in the range that the specification leaves to implementations."""

WORDS: Mapping[int, ErrorCode] = MappingProxyType(
    {number: code for code, number in NUMERIC_CODES.items()}
    | {
        PARSE_ERROR: ErrorCode.INVALID,
        INVALID_REQUEST: ErrorCode.INVALID,
        METHOD_NOT_FOUND: ErrorCode.NOT_FOUND,
    }
)
"""Number → word, for answers of other implementations, which carry no `data.code`."""

MAX_BATCH = 100
"""Most requests in one batch."""

STREAM = "stream"
STREAM_CANCEL = "stream.cancel"

RequestId = str | int | float | None
Params = dict[str, Any] | list[Any]

_ID_TYPES = (str, int, float, type(None))
_PARAMS_TYPES = (dict, list)


class RpcError(NullBoxError):
    """A NullBoxError with the number it travels under, where that is not the usual one of its word."""

    def __init__(
        self, code: ErrorCode, message: str, data: dict[str, Any] | None = None, number: int | None = None
    ) -> None:
        super().__init__(code, message, data)
        self.number = NUMERIC_CODES[code] if number is None else number


class Request(NamedTuple):
    """A well-formed request, or a notification, which must not be answered."""

    method: str
    params: Params
    id: RequestId = None
    notification: bool = False


@dataclass(frozen=True, slots=True)
class Invalid:
    """What arrived in the place of a request. It is answered with `error`, even if it has no id."""

    error: RpcError
    id: RequestId = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Several requests of one line; their answers go back as one line, or none if all are notifications."""

    items: tuple[Request | Invalid, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """A value that is JSON text already: UTF-8, one line. For results that a store holds as text."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Result:
    """A successful answer."""

    id: RequestId
    value: Any


@dataclass(frozen=True, slots=True)
class ErrorAnswer:
    """A failed answer. `id` is None when the server could not tell which request it was."""

    id: RequestId
    error: RpcError


def parse(line: bytes) -> Request | Invalid | Batch:
    """Understand one line that a client sent. Never raises: what is wrong comes back as `Invalid`."""
    try:
        value = _load(line)
    except ValueError as error:
        return Invalid(RpcError(ErrorCode.INVALID, f"not a JSON text: {error}", number=PARSE_ERROR))
    if not isinstance(value, list):
        return _request(value)
    if not value:
        return _invalid(None, "an empty batch; send at least one request")
    if len(value) > MAX_BATCH:
        message = f"a batch of {len(value)} requests; at most {MAX_BATCH} are allowed"
        return Invalid(RpcError(ErrorCode.TOO_LARGE, message, number=INVALID_REQUEST))
    return Batch(tuple(_request(item) for item in value))


def parse_answer(line: bytes) -> Result | ErrorAnswer | Request:
    """Understand one line that a server sent: an answer, or a notification (as a `Request`).

    Raises:
        NullBoxError: `invalid`, the line is none of them.
    """
    try:
        value = _load(line)
    except ValueError as reason:
        raise NullBoxError(ErrorCode.INVALID, f"the server sent no JSON text: {reason}") from None
    if not isinstance(value, dict) or value.get("jsonrpc") != "2.0":
        raise NullBoxError(ErrorCode.INVALID, f"the server sent no JSON-RPC 2.0 message: {_shown(value)}")
    if "method" in value:
        request = _request(value)
        if isinstance(request, Invalid):
            raise request.error
        return request
    if "result" in value:
        return Result(value.get("id"), value["result"])
    error = value.get("error")
    if isinstance(error, dict) and isinstance(error.get("code"), int):
        return ErrorAnswer(value.get("id"), error_from(error))
    raise NullBoxError(ErrorCode.INVALID, f"an answer without result and error: {_shown(value)}")


def error_from(error: Mapping[str, Any]) -> RpcError:
    """The exception that an error object stands for. What is not known counts as `internal`."""
    number = int(error["code"])
    raw = error.get("data")
    data = dict(raw) if isinstance(raw, dict) else ({} if raw is None else {"data": raw})
    try:
        code = ErrorCode(data.pop("code", None))
    except ValueError:
        code = WORDS.get(number, ErrorCode.INTERNAL)
    return RpcError(code, str(error.get("message", "")), data, number)


def error_object(error: NullBoxError) -> dict[str, Any]:
    """The `error` member of an answer."""
    number = error.number if isinstance(error, RpcError) else NUMERIC_CODES[error.code]
    return {"code": number, "message": error.message, "data": {**error.data, "code": error.code.value}}


def method_not_found(method: str, hint: str = "") -> RpcError:
    """The error for a method that does not exist."""
    message = f"no method {method[:100]!r}" + (f"; {hint}" if hint else "")
    return RpcError(ErrorCode.NOT_FOUND, message, number=METHOD_NOT_FOUND)


def request(method: str, params: Params | None = None, id: RequestId = None) -> dict[str, Any]:
    """A request, as the mapping that `encode` makes a line of. Without an id it is a notification."""
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method}
    if params:
        message["params"] = params
    if id is not None:
        message["id"] = id
    return message


def result(id: RequestId, value: Any) -> dict[str, Any]:
    """A successful answer."""
    return {"jsonrpc": "2.0", "result": value, "id": id}


def failure(id: RequestId, error: NullBoxError) -> dict[str, Any]:
    """A failed answer."""
    return {"jsonrpc": "2.0", "error": error_object(error), "id": id}


def stream_value(subscription: str, value: Any) -> dict[str, Any]:
    """The notification that carries one value of a stream."""
    return request(STREAM, {"subscription": subscription, "value": value})


def stream_end(subscription: str, error: NullBoxError | None = None) -> dict[str, Any]:
    """The notification after which nothing of the subscription follows."""
    params: dict[str, Any] = {"subscription": subscription, "end": True}
    if error is not None:
        params["error"] = error_object(error)
    return request(STREAM, params)


def encode(message: dict[str, Any] | list[dict[str, Any]]) -> bytes:
    """One line, newline included. ASCII, so a lone surrogate that came in as an escape can go out again.

    Raises:
        TypeError, ValueError: the message holds something that JSON has no form for (bytes, NaN).
    """
    return _ENCODER.encode(message).encode("ascii") + b"\n"


def encode_result(id: RequestId, value: Encoded) -> bytes:
    """The line of a successful answer whose value is encoded."""
    shown = b"%d" % id if type(id) is int else _ENCODER.encode(id).encode("ascii")
    return b'{"jsonrpc":"2.0","result":%b,"id":%b}\n' % (value.text, shown)


def _request(value: Any) -> Request | Invalid:
    if not isinstance(value, dict):
        return _invalid(None, f"a request is a JSON object, not {_shown(value)}")
    raw_id = value.get("id")
    if isinstance(raw_id, bool) or not isinstance(raw_id, _ID_TYPES):
        return _invalid(None, f"an id is a string, a number or null, not {_shown(raw_id)}")
    if value.get("jsonrpc") != "2.0":
        return _invalid(raw_id, f'"jsonrpc" must be "2.0", not {_shown(value.get("jsonrpc"))}')
    method = value.get("method")
    if not isinstance(method, str):
        return _invalid(raw_id, f'"method" must be a string, not {_shown(method)}')
    params = value.get("params", {})
    if not isinstance(params, _PARAMS_TYPES):
        return _invalid(raw_id, f'"params" must be an object or an array, not {_shown(params)}')
    return Request(method, params, raw_id, notification="id" not in value)


def _invalid(id: RequestId, message: str) -> Invalid:
    return Invalid(RpcError(ErrorCode.INVALID, message, number=INVALID_REQUEST), id)


def _shown(value: Any) -> str:
    """What was found, short enough for a message."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 60 else text[:57] + "..."


def _load(line: bytes) -> Any:
    """JSON, held to RFC 8259: UTF-8 only, no NaN, and nesting too deep is an error like any other."""
    try:
        return _DECODER.decode(line.decode("utf-8"))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"{text[:40]} is beyond what a double can hold")
    return number


# Made once: json.loads and json.dumps would make them anew for every line.
_DECODER = json.JSONDecoder(parse_constant=_no_constant, parse_float=_finite)
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)

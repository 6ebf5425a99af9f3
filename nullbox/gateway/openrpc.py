"""The method table as an OpenRPC document (https://spec.open-rpc.org), for clients that generate themselves. Pure.

`python -m nullbox.gateway.openrpc` prints it; docs/openrpc.json is that, and a test holds them together. The gateway
serves the same as `rpc.discover`.
"""

from __future__ import annotations

import json
from typing import Any

from nullbox import __version__
from nullbox.gateway.method import Method
from nullbox.gateway.methods import TABLE
from nullbox.gateway.schema import KINDS, Param
from nullbox.protocols.errors import ErrorCode
from nullbox.protocols.jsonrpc import INVALID_REQUEST, METHOD_NOT_FOUND, NUMERIC_CODES, PARSE_ERROR

MEANINGS: dict[ErrorCode, str] = {
    ErrorCode.NOT_FOUND: "There is no such agent, entry, subscription or method.",
    ErrorCode.WRONG_STATE: "It is there, and cannot do that in its state; data.state says which.",
    ErrorCode.INVALID: "A parameter or a file is wrong; the message names each, one a line.",
    ErrorCode.DENIED: "The caller's role, or a grant, does not allow it.",
    ErrorCode.TIMEOUT: "It was not done in time. It may still happen.",
    ErrorCode.UNAVAILABLE: "Who should answer is down, or a limit of the connection is reached. Try again.",
    ErrorCode.CONFLICT: "It is there already, or was changed meanwhile.",
    ErrorCode.TOO_LARGE: "A message, value or folder is over its limit.",
    ErrorCode.INTERNAL: "A defect of NullBox; its log says more.",
}
"""What each `data.code` means, for the documentation."""


def document() -> dict[str, Any]:
    """The OpenRPC document."""
    return {
        "openrpc": "1.3.2",
        "info": {
            "title": "NullBox gateway",
            "version": __version__,
            "description": "JSON-RPC 2.0, one message a line; see docs/protocol.md for framing, streams and limits.",
            "license": {"name": "MIT OR Apache-2.0"},
        },
        "methods": [_method(method) for method in TABLE],
        "components": {"errors": {code.value: _error(code) for code in ErrorCode}},
    }


def _method(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "summary": method.summary,
        "paramStructure": "by-name",
        "params": [_param(param) for param in method.params],
        "result": {"name": "result", "description": method.result, "schema": {}},
        "errors": [{"$ref": f"#/components/errors/{code.value}"} for code in ErrorCode],
        "x-role": method.role.value,
        "x-deadline-seconds": method.deadline,
        "x-streams": method.streams,
    }


def _param(param: Param) -> dict[str, Any]:
    schema = dict(KINDS[param.kind].json)
    if param.default is not None:
        schema["default"] = param.default
    return {"name": param.name, "description": param.doc, "required": param.required, "schema": schema}


def _error(code: ErrorCode) -> dict[str, Any]:
    return {"code": NUMERIC_CODES[code], "message": MEANINGS[code], "data": {"code": code.value}}


def error_table() -> str:
    """The table of errors in docs/protocol.md."""
    rows = ["| `data.code` | `code` | meaning |", "| --- | --- | --- |"]
    special = {
        ErrorCode.INVALID: f" ({PARSE_ERROR}: no JSON; {INVALID_REQUEST}: no request)",
        ErrorCode.NOT_FOUND: f" ({METHOD_NOT_FOUND}: no such method)",
    }
    rows += [f"| `{code}` | {NUMERIC_CODES[code]}{special.get(code, '')} | {MEANINGS[code]} |" for code in ErrorCode]
    return "\n".join(rows)


def method_table() -> str:
    """The table of methods in docs/protocol.md."""
    rows = ["| method | parameters | result | role |", "| --- | --- | --- | --- |"]
    for method in TABLE:
        given = ", ".join(f"`{param.name}`" + ("" if param.required else "?") for param in method.params) or "none"
        result = method.result.replace("|", "\\|")
        rows.append(f"| `{method.name}` | {given} | {method.summary} → `{result}` | {method.role} |")
    return "\n".join(rows)


def text() -> str:
    """The file docs/openrpc.json."""
    return json.dumps(document(), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    print(text(), end="")

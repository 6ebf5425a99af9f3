"""Parameters of methods: what they may be, and the check that says everything that is wrong at once. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")
UPLOAD = re.compile(r"[a-z0-9]{8,32}")
HASH = re.compile(r"[0-9a-f]{64}")
AGENT_STATES = ("stopped", "starting", "running", "paused", "stopping", "backoff", "failed")
MAX_SECONDS = 7 * 24 * 3600.0


def _integer(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _key(value: Any) -> bool:
    return isinstance(value, str) and _bytes(value) <= 512 and "\0" not in value


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of parameter: its check, how a message describes it, and its JSON Schema."""

    check: Callable[[Any], bool]
    allowed: str
    json: Mapping[str, Any]


def _kind(check: Callable[[Any], bool], allowed: str, **json: Any) -> Kind:
    return Kind(check, allowed, MappingProxyType(json))


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "agent": _kind(
            lambda value: isinstance(value, str) and NAME.fullmatch(value) is not None,
            "an agent's name: a letter a-z, then up to 31 of a-z, 0-9 and -",
            type="string",
            pattern=f"^{NAME.pattern}$",
        ),
        "state": _kind(
            lambda value: value in AGENT_STATES,
            "one of " + ", ".join(AGENT_STATES),
            enum=list(AGENT_STATES),
        ),
        "order": _kind(lambda value: value in ("asc", "desc"), "asc or desc", enum=["asc", "desc"]),
        "key": _kind(
            lambda value: _key(value) and value != "",
            "a key: 1 to 512 bytes of UTF-8 without NUL",
            type="string",
            minLength=1,
            maxLength=512,
        ),
        "prefix": _kind(
            _key, "the beginning of a key: up to 512 bytes of UTF-8 without NUL", type="string", maxLength=512
        ),
        "hash": _kind(
            lambda value: isinstance(value, str) and HASH.fullmatch(value) is not None,
            "64 hex digits",
            type="string",
            pattern=f"^{HASH.pattern}$",
        ),
        "string": _kind(
            lambda value: isinstance(value, str) and _bytes(value) <= 4096,
            "a string of at most 4096 bytes",
            type="string",
        ),
        "upload": _kind(
            lambda value: isinstance(value, str) and UPLOAD.fullmatch(value) is not None,
            "8 to 32 of a-z and 0-9, chosen by the client",
            type="string",
            pattern=f"^{UPLOAD.pattern}$",
        ),
        "files": _kind(
            lambda value: isinstance(value, list) and len(value) <= 2000,
            "a list of {path, data (base64), offset, executable}",
            type="array",
            items={
                "type": "object",
                "properties": {
                    "path": {"type": "string"},
                    "data": {"type": "string", "contentEncoding": "base64"},
                    "offset": {"type": "integer", "minimum": 0},
                    "executable": {"type": "boolean"},
                },
                "required": ["path"],
            },
        ),
        "bool": _kind(lambda value: isinstance(value, bool), "true or false", type="boolean"),
        "count": _kind(
            lambda value: _integer(value) and 0 <= value <= 100_000,
            "a whole number from 0 to 100000",
            type="integer",
            minimum=0,
            maximum=100_000,
        ),
        "seq": _kind(
            lambda value: _integer(value) and 0 <= value < 2**53,
            "a whole number from 0",
            type="integer",
            minimum=0,
        ),
        "seconds": _kind(
            lambda value: (_integer(value) or isinstance(value, float)) and 0 <= value <= MAX_SECONDS,
            "seconds from 0 to 604800 (a week)",
            type="number",
            minimum=0,
            maximum=MAX_SECONDS,
        ),
        "time": _kind(
            lambda value: (_integer(value) or isinstance(value, float)) and 0 <= value < 2**53,
            "seconds since 1970-01-01 UTC",
            type="number",
            minimum=0,
        ),
        "value": _kind(lambda value: True, "any JSON value"),
    }
)


@dataclass(frozen=True, slots=True)
class Param:
    """One parameter. `kind` names an entry of `KINDS`; one that is not required has `default`."""

    name: str
    kind: str
    doc: str
    required: bool = False
    default: Any = None


def arguments(method: str, params: Sequence[Param], given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a call, defaults filled in.

    Raises:
        NullBoxError: `invalid`, naming every parameter that is unknown, missing or wrong, one a line.
    """
    by_name = {param.name: param for param in params}
    problems = []
    for name in given:
        if name not in by_name:
            known = ", ".join(by_name) or "none"
            problems.append(f"{method} has no parameter {name[:60]!r}; it has: {known}")
    values: dict[str, Any] = {}
    for param in params:
        kind = KINDS[param.kind]
        if param.name not in given or (given[param.name] is None and not param.required):
            if param.required:
                problems.append(f"{method} needs {param.name!r}: {kind.allowed}")
            values[param.name] = param.default
        elif not kind.check(given[param.name]):
            problems.append(f"{param.name} is {_shown(given[param.name])}; allowed: {kind.allowed}")
        else:
            values[param.name] = given[param.name]
    if problems:
        raise NullBoxError(ErrorCode.INVALID, "\n".join(problems))
    return values


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

"""What can be asked of egress, by name: the verbs of the actor's `Query`, each with its parameters and plain answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from nullbox.egress.service import EgressService
from nullbox.protocols.errors import ErrorCode, NullBoxError

Params = Mapping[str, Any]


def _log(service: EgressService, params: Params) -> list[dict[str, Any]]:
    service.poll()
    return [denial.as_dict() for denial in service.events.since(params.get("since", 0), params.get("agent"))]


VERBS: Mapping[str, Callable[[EgressService, Params], Any]] = MappingProxyType(
    {
        "rules": lambda service, params: service.rules(params.get("agent")),
        "explain": lambda service, params: service.explain(params["agent"], params["target"]),
        "log": _log,
        "flush_dns": lambda service, params: service.flush_dns(params["agent"]),
        "learned": lambda service, params: service.learned(params["agent"]),
    }
)
"""`rules` {agent?}; `explain` {agent, target}; `log` {since?, agent?}; `flush_dns` {agent}; `learned` {agent}."""


def answer(service: EgressService, verb: str, params: Params) -> Any:
    """Answer one question.

    Raises:
        NullBoxError: `invalid`, there is no such verb or a parameter is missing; and what the service raises.
    """
    if verb not in VERBS:
        raise NullBoxError(ErrorCode.INVALID, f"egress does not know {verb!r}; it knows {', '.join(sorted(VERBS))}")
    try:
        return VERBS[verb](service, params)
    except KeyError as error:
        raise NullBoxError(ErrorCode.INVALID, f"egress {verb} needs the parameter {error}") from error

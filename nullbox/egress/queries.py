"""What can be asked of egress, by name: the verbs of the actor's `Query`, each with its parameters and plain answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from types import MappingProxyType
from typing import Any

from nullbox.egress.explain import explain, split_target
from nullbox.egress.links import LEARNING, grants_of
from nullbox.egress.policy import LinkPolicy
from nullbox.egress.service import EgressService
from nullbox.protocols.errors import ErrorCode, NullBoxError

Params = Mapping[str, Any]


def _explain(service: EgressService, params: Params) -> dict[str, Any]:
    agent = params["agent"]
    host, port = split_target(params["target"])
    link = service.link(agent)
    holders = {host: service.open_for(agent, host, port)}
    learn = LEARNING in link.marks
    verdict = explain(host, port, grants_of(link), service.address_rules, holders, learn=learn)
    return {"agent": agent, "host": host, "port": port, **asdict(verdict)}


def _log(service: EgressService, params: Params) -> list[dict[str, Any]]:
    service.poll()
    return [denial.as_dict() for denial in service.events.since(params.get("since", 0), params.get("agent"))]


def _learn(service: EgressService, params: Params) -> dict[str, Any]:
    """Put a running agent into report-only mode, or back, if it is not there yet; what it would need by now.

    What the agent may by its manifest it may in both.
    """
    link, on = service.link(params["agent"]), bool(params.get("on", True))
    if on != (LEARNING in link.marks):
        service.change_policy(link.agent, LinkPolicy(tuple(grants_of(link)), link.budget, on))
    return service.learned(link.agent)


VERBS: Mapping[str, Callable[[EgressService, Params], Any]] = MappingProxyType(
    {
        "rules": lambda service, params: service.rules(params.get("agent")),
        "explain": _explain,
        "log": _log,
        "flush_dns": lambda service, params: service.flush_dns(params["agent"]),
        "learn": _learn,
        "learned": lambda service, params: service.learned(params["agent"]),
    }
)
"""`rules` {agent?}; `explain` {agent, target}; `log` {since?, agent?}; `flush_dns` {agent}; `learn` {agent, on?};
`learned` {agent}."""


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

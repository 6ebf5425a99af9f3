"""What a method of the gateway is: one row of the tables in `methods` and `methods_ctx`."""

from __future__ import annotations

from dataclasses import dataclass

from nullbox.gateway.roles import Role
from nullbox.gateway.schema import Param

QUICK = 10.0
"""Seconds for what an actor answers from memory. Generous, for machines under software emulation."""
CHANGE = 60.0
"""Seconds for what waits until something has stopped or started."""
WAIT_SLACK = 5.0
"""How much longer than its own timeout a waiting call may take before the server ends it."""


@dataclass(frozen=True, slots=True)
class Method:
    """One method.

    deadline: seconds; a parameter `timeout` of the method, plus some slack, replaces it.
    streams: the result is a subscription when the parameter `follow` is true (or always, if there is none).
    result: what the result is, for the documentation.
    """

    name: str
    summary: str
    result: str
    role: Role = Role.READER
    params: tuple[Param, ...] = ()
    deadline: float = QUICK
    streams: bool = False

"""A backend without any actor: services and agents that obey at once. For tests of whatever talks to a gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from nullbox.gateway.backend import ROOT
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import CageCommand, ChildCommand, PowerCommand, Query, TreeQuery

START = {"start": "running", "stop": "stopped", "restart": "running"}


def node(name: str, parent: str | None, state: str = "running", **more: Any) -> dict[str, Any]:
    """One node as `supervision.snapshot` makes it."""
    alive = state in ("running", "paused", "starting", "stopping")
    return {
        "id": name,
        "parent": parent,
        "type": "supervisor" if parent is None else "worker",
        "state": state,
        "pid": 100 + len(name) if alive else None,
        "incarnation": 1,
        "restarts": 0,
        "restarts_total": 0,
        "uptime_s": 12.5 if alive else None,
        "since_s": 12.5,
        "last_exit": None,
        "next_restart_in_s": None,
        "phase": "",
        "detail": {},
        "waiting_for": [],
        "wanted": True,
        **more,
    }


class MemoryBackend:
    """`nodes` and `events` are what is shown; `asked` records what came; actors in `silent` never answer,
    children in `refuse` cannot be added."""

    def __init__(self, agents: Iterable[str] = ("pulse", "reader")) -> None:
        services = [node(name, ROOT) for name in ("egress", "ctxgraph", "gateway")]
        self.nodes = [node(ROOT, None), *services, *(node(f"cage:{name}", ROOT) for name in agents)]
        self.events: list[dict[str, Any]] = []
        self.asked: list[tuple[str, Any]] = []
        self.denials: list[dict[str, Any]] = []
        self.silent: set[str] = set()
        self.refuse: set[str] = set()

    def set(self, name: str, **fields: Any) -> None:
        """Change fields of a node."""
        self._find(name).update(fields)

    def record(self, kind: str, child: str, **detail: Any) -> None:
        """Add an event."""
        seq = len(self.events) + 1
        self.events.append(
            {**detail, "seq": seq, "ts": 1000.0 + seq, "kind": kind, "child": child, "path": f"{ROOT}/{child}"}
        )

    def commands(self) -> list[tuple[str, Any]]:
        """What was asked that the gateway does not ask of itself all the time."""
        return [
            (target, message)
            for target, message in self.asked
            if not isinstance(message, TreeQuery) and getattr(message, "verb", "") not in ("events", "log")
        ]

    async def ask(self, target: str, message: Any) -> Any:
        """See `Backend`."""
        self.asked.append((target, message))
        if target in self.silent:
            await asyncio.Event().wait()
        match message:
            case TreeQuery():
                return [dict(each) for each in self.nodes]
            case ChildCommand(child_id=child, verb="add"):
                if child in self.refuse:
                    raise NullBoxError(ErrorCode.INVALID, f"{child} is not wanted")
                self.nodes.append(node(child, ROOT))
                return {"child": child, "state": "running"}
            case ChildCommand(child_id=child, verb="remove"):
                self.nodes.remove(self._find(child))
                return {"child": child, "state": "removed"}
            case ChildCommand(child_id=child, verb=verb):
                return self._command(self._find(child), verb)
            case CageCommand(verb=verb):
                return self._cage(self._find(target), verb)
            case Query(verb="events", params={"since": since, "limit": limit}):
                found = [event for event in self.events if event["seq"] > since][:limit]
                return {"events": found, "last_seq": len(self.events), "lost": 0}
            case Query(verb="rules", params={"agent": agent}):
                return {"rules": [], "agent": agent}
            case Query(verb="explain", params={"agent": agent, "target": target}):
                host, _, port = target.partition(":")
                why = f"no line of its manifest allows {host}"
                return {
                    "agent": agent,
                    "host": host,
                    "port": int(port or 443),
                    "allowed": False,
                    "rule": None,
                    "why": why,
                }
            case Query(verb="log", params={"since": since, "agent": agent}):
                return [each for each in self.denials if each["seq"] > since and agent in (None, each["agent"])]
            case Query(verb="flush_dns"):
                return 2
            case Query(verb="learn", params={"agent": agent, "on": on}):
                return {"agent": agent, "learning": on, "used": [], "allow": []}
            case PowerCommand():
                return None
        raise NullBoxError(ErrorCode.INVALID, f"{target} does not know {type(message).__name__}")

    def _find(self, name: str) -> dict[str, Any]:
        for each in self.nodes:
            if each["id"] == name:
                return each
        raise NullBoxError(ErrorCode.UNAVAILABLE, f"{name} is not there now")

    def _command(self, each: dict[str, Any], verb: str) -> dict[str, Any]:
        if verb == "stop" and each["state"] in ("stopped", "failed"):
            raise NullBoxError(ErrorCode.WRONG_STATE, f"{each['id']} is not running")
        if verb == "start" and each["state"] in ("running", "paused", "starting"):
            raise NullBoxError(ErrorCode.WRONG_STATE, f"{each['id']} is already {each['state']}")
        alive = verb != "stop"
        each.update(state=START[verb], pid=4711 if alive else None, uptime_s=0.0 if alive else None)
        each["incarnation"] += alive
        return {"child": each["id"], "state": each["state"]}

    def _cage(self, each: dict[str, Any], verb: str) -> dict[str, Any]:
        if verb == "inspect":
            return {"kernel": "6.18.0", "boot_id": "b007", "vcpus": 1}
        if verb == "stats":
            return {"cpu_usec": 1_500_000, "memory_bytes": 64 << 20, "memory_peak_bytes": 80 << 20, "tasks": 7}
        each["state"] = "paused" if verb == "pause" else "running"
        return {"state": each["state"], "confirmed_ms": 8.0}

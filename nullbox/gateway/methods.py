"""The gateway's methods as a table: role, parameters, deadline, what comes back. Pure data.

`handlers` has one function for each row; a test holds both, the OpenRPC document and nullctl together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

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


AGENT = Param("name", "agent", "the agent's name", required=True)
FOLLOW = Param("follow", "bool", "stream what comes later, too", default=False)


def _change(verb: str, summary: str) -> Method:
    return Method(f"agent.{verb}", summary, "{name, state}", Role.OPERATOR, (AGENT,), CHANGE)


def _ctx(
    name: str, summary: str, result: str, *params: Param, role: Role = Role.READER, streams: bool = False
) -> Method:
    return Method(f"ctx.{name}", summary, result, role, params, streams=streams)


KEY = Param("key", "key", "the key", required=True)
PREFIX = Param("prefix", "prefix", "how the keys begin; empty for all", default="")
WINDOW = (
    Param("limit", "count", "at most this many; the store has a limit of its own"),
    Param("after", "seq", "go on after this number: the `next` of the page before"),
    Param("order", "order", "asc: oldest first; desc: newest first", default="asc"),
)
AS_OF = Param("as_of", "seq", "the store as it was after this number")
ENTRY = "{hash, agent_id, key, value, seq, ts_ns}"
PAGE = "{entries: [{hash, agent_id, key, value, seq, ts_ns}], next}"

TABLE: tuple[Method, ...] = (
    Method("version", "Versions of NullBox, its protocol and its kernel.", "{version, protocol, kernel, python}"),
    Method(
        "status",
        "The system at a glance.",
        "{healthy, version, driver, isolation, acceleration, kernel, uptime_s, memory, age_s, services, agents}",
    ),
    Method(
        "tree",
        "The supervision tree.",
        "[{id, parent, type, state, pid, incarnation, restarts, restarts_total, uptime_s, last_exit, "
        "next_restart_in_s, phase, detail}]",
    ),
    Method(
        "agent.list",
        "All agents.",
        "[{name, state, pid, incarnation, restarts, restarts_total, uptime_s, last_exit, next_restart_in_s}]",
    ),
    Method("agent.inspect", "All about one agent and its VM.", "{name, state, …, vm}", params=(AGENT,)),
    _change("start", "Start an agent that is stopped, in backoff or failed."),
    _change("stop", "Stop an agent: SIGTERM, five seconds, then its VM is killed. Outranks any pending restart."),
    _change("restart", "Stop an agent if it runs, then start it in a new VM."),
    _change("pause", "Freeze a running agent's VM; memory and connections stay."),
    _change("resume", "Thaw a paused agent's VM."),
    Method(
        "agent.deploy",
        "Send an agent's folder, in one or more parts; the last one deploys it.",
        "{received}, bytes so far; for the last part {name, version, state, received}",
        Role.OPERATOR,
        (
            Param("upload", "upload", "the same for all parts of one folder", required=True),
            Param("files", "files", "files, or pieces of them from `offset` on", default=None, required=True),
            Param("last", "bool", "this was the last part: deploy", default=False),
            Param("replace", "bool", "replace an agent of that name", default=False),
        ),
        CHANGE,
    ),
    Method(
        "agent.remove",
        "Stop a deployed agent and delete it. What it wrote to ctxgraph stays.",
        "{name, state}",
        Role.OPERATOR,
        (AGENT,),
        CHANGE,
    ),
    Method(
        "agent.wait",
        "Wait until an agent is in a state.",
        "{name, state}",
        params=(
            AGENT,
            Param("for", "state", "the state to wait for", default="running"),
            Param("timeout", "seconds", "how long to wait", default=30.0),
        ),
        deadline=30.0 + WAIT_SLACK,
    ),
    Method(
        "agent.logs",
        "An agent's console.",
        "{name, lines: [{ts, text}]}, the newest that fit; with follow or whole: a stream of {ts, text}",
        params=(
            AGENT,
            FOLLOW,
            Param("whole", "bool", "stream all that is kept, from the oldest line on", default=False),
            Param("tail", "count", "only the last lines, this many"),
            Param("since", "time", "only from this time on"),
        ),
        streams=True,
    ),
    Method(
        "events",
        "What happened: starts, exits, crashes, restarts, state changes.",
        "{events: [{seq, ts, kind, child, path, …}], last_seq, lost}; with follow: a stream of events",
        params=(
            FOLLOW,
            Param("since", "seq", "only events after this number", default=0),
            Param("limit", "count", "at most this many", default=500),
        ),
        streams=True,
    ),
    _ctx("query", "All that was written to keys with a prefix, oldest first.", PAGE, PREFIX, *WINDOW, AS_OF),
    _ctx("history", "All that was written to a key, oldest first.", PAGE, KEY, *WINDOW),
    _ctx(
        "by_agent",
        "All that an agent wrote, oldest first.",
        PAGE,
        Param("agent_id", "string", "the writer", required=True),
        *WINDOW,
    ),
    _ctx("read", "An entry by its hash.", ENTRY, Param("hash", "hash", "the entry's hash", required=True)),
    _ctx("latest", "What was written to a key last.", ENTRY, KEY, AS_OF),
    _ctx(
        "search",
        "Entries whose value holds all the words of a text, best first.",
        "{entries}",
        Param("text", "string", "the words", required=True),
        PREFIX,
        Param("limit", "count", "at most this many"),
    ),
    _ctx("agents", "Who wrote how much.", "{agents: [{agent_id, entries, bytes}]}"),
    _ctx("status", "The store itself.", "{size, root, searchable, path, failed}"),
    _ctx(
        "watch",
        "Entries as they are written.",
        "a stream of entries",
        PREFIX,
        Param("since", "seq", "begin after this number; default: only what is new"),
        streams=True,
    ),
    _ctx(
        "write",
        "Write an entry, as the operator.",
        "{hash, seq, ts_ns}",
        KEY,
        Param("value", "value", "the value: any JSON, at most 256 KiB", required=True),
        Param("ttl_s", "seconds", "forget it after this long"),
        Param("expected_head", "value", "write only if this hash is the key's latest; null: if it has none"),
        Param("parents", "value", "hashes of the entries that this one was made from"),
        role=Role.OPERATOR,
    ),
    Method(
        "egress.rules",
        "What the firewall allows, per agent.",
        "the rules",
        params=(Param("agent", "agent", "only this agent", default=None),),
    ),
    Method("rpc.discover", "This protocol as an OpenRPC document.", "the document"),
    Method("power.off", "Stop all agents and services in order and turn the machine off.", "{}", Role.OPERATOR),
    Method("power.reboot", "Stop all agents and services in order and boot again.", "{}", Role.OPERATOR),
)

METHODS: Mapping[str, Method] = MappingProxyType({method.name: method for method in TABLE})


def deadline_of(name: str, timeout: object) -> float:
    """Seconds that a call of `name` may take, given its `timeout` parameter, whatever was sent as that."""
    method = METHODS.get(name)
    if method is None:
        return QUICK
    has_timeout = any(param.name == "timeout" for param in method.params)
    if has_timeout and isinstance(timeout, int | float) and 0 <= timeout <= 7 * 24 * 3600:
        return float(timeout) + WAIT_SLACK
    return method.deadline

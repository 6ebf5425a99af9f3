"""The gateway's methods as a table: role, parameters, deadline, what comes back. Pure data.

`handlers` has one function for each row; a test holds both, the OpenRPC document and nullctl together.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from nullbox.gateway.method import CHANGE, QUICK, WAIT_SLACK, Method
from nullbox.gateway.methods_ctx import CTX_TABLE
from nullbox.gateway.roles import Role
from nullbox.gateway.schema import Param

AGENT = Param("name", "agent", "the agent's name", required=True)
FOLLOW = Param("follow", "bool", "stream what comes later, too", default=False)


CONFIRMED = "{name, state, confirmed_ms}: milliseconds from the request to the kernel's word that it is so"


def _change(verb: str, summary: str, result: str = "{name, state}") -> Method:
    return Method(f"agent.{verb}", summary, result, Role.OPERATOR, (AGENT,), CHANGE)


TABLE: tuple[Method, ...] = (
    Method("version", "Versions of NullBox, its protocol and its kernel.", "{version, protocol, kernel, python}"),
    Method(
        "status",
        "The system at a glance.",
        "{healthy, version, driver, isolation, acceleration, kernel, uptime_s, memory, egress, age_s, services, "
        "agents}; on a machine of its own also machine_id, state: {kind: disk|memory, device, detail, created}, uplink",
    ),
    Method(
        "doctor",
        "What is wrong with the system, and what to do.",
        "{healthy, findings: [{check, state: ok|warning|failure, found, advice}]}",
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
    _change("pause", "Freeze a running agent's VM; memory and connections stay.", CONFIRMED),
    _change("resume", "Thaw a paused agent's VM.", CONFIRMED),
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
        "agent.stats",
        "What an agent's VM uses: CPU time, memory, processes.",
        "{name, state, restarts, stats}; stats is null while it does not run",
        params=(AGENT,),
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
    *CTX_TABLE,
    Method(
        "egress.rules",
        "What the firewall allows, per agent.",
        "the rules",
        params=(Param("agent", "agent", "only this agent", default=None),),
    ),
    Method(
        "egress.explain",
        "Whether an agent may reach a host, and which line of its manifest says so.",
        "{agent, host, port, allowed, rule, why}",
        params=(
            Param("agent", "agent", "the agent's name", required=True),
            Param("target", "string", "HOST or HOST:PORT; port 443 unless given", required=True),
        ),
    ),
    Method(
        "egress.log",
        "What agents were denied.",
        "{denials, last_seq}; with follow: a stream of denials",
        params=(
            FOLLOW,
            Param("agent", "agent", "only this agent"),
            Param("since", "seq", "only denials after this number", default=0),
        ),
        streams=True,
    ),
    Method(
        "egress.flush_dns",
        "Forget the addresses that an agent's names stood for; open connections go on.",
        "{agent, flushed}",
        Role.OPERATOR,
        (Param("agent", "agent", "the agent's name", required=True),),
    ),
    Method(
        "egress.learn",
        "Put an agent into report-only mode, or back: it may reach every public address, and what it used is told as "
        "the `allow` list that it would need. Refused unless nulld.toml permits it.",
        "{agent, learning, used: [{address, protocol, port, flows, names}], allow}",
        Role.OPERATOR,
        (
            Param("agent", "agent", "the agent's name", required=True),
            Param("on", "bool", "false: back to its grants", default=True),
        ),
    ),
    Method("rpc.discover", "This protocol as an OpenRPC document.", "the document"),
    Method("power.off", "Stop all agents and services in order and turn the machine off.", "{}", Role.OPERATOR),
    Method("power.reboot", "Stop all agents and services in order and boot again.", "{}", Role.OPERATOR),
    Method(
        "power.reset",
        "Stop all agents and services in order, empty the STATE partition and boot again: ctxgraph, deployed agents, "
        "events and the machine's id are gone.",
        "{power, device}",
        Role.OPERATOR,
        (Param("state", "bool", "what is to be reset; has to be true", required=True),),
    ),
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

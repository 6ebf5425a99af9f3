"""A whole operator's day, through nullctl alone: deploy an agent, watch it start, read its logs, see a denial and
explain it, pause it, resume it, see it crash and come back, remove it. Agents in VMs and agents in sandboxes live
through the same day.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from operator_view import Machine, until

MANIFEST = """
[agent]
name = "day"
version = "1.0.0"
runtime = "python"
restart = "on-failure"

[capabilities]
max_cpu_percent = 100
max_memory_mb = 96

[capabilities.network]
allow = ["allowed.example"]

[capabilities.ctxgraph]
read = ["orders."]
write = ["day."]
"""

CODE = """
import socket, sys
from nullbox_agent import ctx, log

log("good morning")
try:
    socket.getaddrinfo("forbidden.example", 443)
except OSError as error:
    log(f"no way out: {error}")
ctx.write("day.begun", True)
for order in ctx.watch("orders."):
    log(f"told to {order['value']}")
    if order["value"] == "crash":
        sys.exit(3)
"""

LONG = 240.0
"""Seconds for a VM to boot in an emulated machine, with much to spare."""


def spend(machine: Machine, scratch: Path) -> None:
    """The day. scratch: an empty folder."""
    folder = scratch / "day"
    folder.mkdir()
    (folder / "AGENT.toml").write_text(MANIFEST)
    (folder / "main.py").write_text(CODE)
    assert machine.nullctl("agent", "inspect", "day").code == 3

    assert machine.ok("agent", "deploy", str(folder)) in ("day 1.0.0: starting\n", "day 1.0.0: running\n")
    assert machine.agent_state("day") in ("starting", "running")
    waited = machine.nullctl("agent", "wait", "day", "--timeout", f"{LONG:.0f}s", timeout=LONG + 60)
    assert waited.code == 0, "\n".join(
        [waited.err, machine.ok("tree"), machine.ok("agent", "logs", "day"), machine.ok("-o", "json", "events")]
    )
    until(lambda: "no way out" in machine.ok("agent", "logs", "day"), seconds=LONG, what="the agent's log")
    assert "good morning" in machine.ok("agent", "logs", "day", "--tail", "20")

    denied = until(
        lambda: lines(machine.ok("-o", "json", "egress", "log", "day")), seconds=LONG, what="a denial in the log"
    )
    assert "forbidden.example" in {each["name"] for each in denied}
    no = machine.json("egress", "explain", "day", "forbidden.example")
    assert no["allowed"] is False
    assert no["why"]
    assert machine.json("egress", "explain", "day", "allowed.example")["allowed"] is True

    assert machine.ok("agent", "pause", "day") == "day: paused\n"
    assert machine.nullctl("agent", "pause", "day").code == 6
    assert machine.json("agent", "stats", "day")["stats"]["cpu_usec"] > 0
    assert machine.ok("agent", "resume", "day") == "day: running\n"

    until(lambda: machine.json("ctx", "query", "day.")["entries"], seconds=LONG, what="the agent to be listening")
    machine.ok("ctx", "write", "orders.day", "crash", "--string")
    until(lambda: machine.node("cage:day")["restarts_total"] >= 1, seconds=LONG, what="the crash and the restart")
    assert machine.node("cage:day")["last_exit"]["code"] == 3
    assert "failed (3): the agent exited with" in machine.ok("tree")
    # The journal collects from the others now and then; the day may be shorter than that.
    until(lambda: complete(lines(machine.ok("-o", "json", "events"))), seconds=60, what="the day in the journal")

    assert machine.ok("agent", "remove", "day", "--yes") == "day: removed\n"
    assert machine.nullctl("agent", "inspect", "day").code == 3
    assert "day" not in machine.ok("agent", "list", "-o", "name").split()
    done = lines(machine.ok("-o", "json", "events"))
    mine = [event["method"] for event in done if event["kind"] == "command" and event["child"] == "cage:day"]
    assert mine == ["agent.deploy", "agent.pause", "agent.pause", "agent.resume", "agent.remove"]


def complete(events: list[dict[str, Any]]) -> bool:
    """Whether the journal has the start, the denial and the crash."""
    mine = [event for event in events if event.get("child") == "cage:day"]
    states = [event["to"] for event in mine if event["kind"] == "state"]
    crashed = any(event["kind"] == "exit" and event["code"] == 3 for event in mine)
    denied = any(event["kind"] == "denied" and "forbidden.example" in json.dumps(event) for event in events)
    return states[:2] == ["starting", "running"] and crashed and denied


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]

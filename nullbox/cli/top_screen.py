"""The screen of `nullctl top`, as text of a given size. Pure: a model in, lines out; keys in, changes out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from nullbox.cli import durations, tables
from nullbox.cli.render import Column, Row, branches, pad, safe, width

AGENT = "cage:"
MEBI = 1 << 20
KEYS = "up/down select  p pause  r resume  R restart  s stop  S start  l log  q quit"
MIN_EVENTS = 4
"""Lines that events keep, however many nodes the tree has."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What an agent's VM had used at a time (seconds of a clock that does not step)."""

    at: float
    cpu_usec: int | None
    memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Model:
    """All that the screen shows.

    samples: agent → its last two samples, for the share of the CPU. denials: agent → how many so far.
    selected: the id of the node that keys act on. logs: lines of an agent, shown in place of the events.
    problem: why the data is old; message: what the last key did.
    """

    status: Row = field(default_factory=dict)
    tree: Sequence[Row] = ()
    samples: Mapping[str, tuple[Sample, Sample]] = field(default_factory=dict)
    denials: Mapping[str, int] = field(default_factory=dict)
    events: Sequence[Row] = ()
    selected: str = ""
    logs_of: str = ""
    logs: Sequence[str] = ()
    problem: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the screen; `style` is `title`, `selected`, `bad`, `dim` or empty."""

    text: str
    style: str = ""


@dataclass(frozen=True, slots=True)
class Command:
    """What a key asks for: a verb of `agent`, on an agent."""

    verb: str
    agent: str


VERBS = {"p": "pause", "r": "resume", "R": "restart", "s": "stop", "S": "start"}


def selected_agent(model: Model) -> str | None:
    """The agent that keys act on; None if a service is selected."""
    return model.selected.removeprefix(AGENT) if model.selected.startswith(AGENT) else None


def move(model: Model, by: int) -> Model:
    """Select another node, in the order of the screen."""
    ids = [node["id"] for _, node in branches(model.tree)]
    if not ids:
        return model
    now = ids.index(model.selected) if model.selected in ids else -1 if by > 0 else 0
    return replace(model, selected=ids[max(0, min(len(ids) - 1, now + by))], message="")


def press(model: Model, key: str) -> tuple[Model, Command | None]:
    """What a key changes here, and what it asks of the system. `up`, `down` and characters."""
    if key in ("up", "k"):
        return move(model, -1), None
    if key in ("down", "j"):
        return move(model, 1), None
    agent = selected_agent(model)
    if key == "l":
        if model.logs_of:
            return replace(model, logs_of="", logs=()), None
        if agent is None:
            return replace(model, message="select an agent first"), None
        return replace(model, logs_of=agent, logs=(), message=""), None
    if key in VERBS:
        if agent is None:
            return replace(model, message="select an agent first"), None
        return replace(model, message=""), Command(VERBS[key], agent)
    return model, None


def cpu_share(samples: tuple[Sample, Sample] | None) -> float | None:
    """CPU time used between two samples, in percent of one processor."""
    if samples is None:
        return None
    before, after = samples
    if before.cpu_usec is None or after.cpu_usec is None or after.at <= before.at:
        return None
    return max(0.0, (after.cpu_usec - before.cpu_usec) / 1e4 / (after.at - before.at))


def _cpu(model: Model, row: Row) -> str:
    share = cpu_share(model.samples.get(row["id"].removeprefix(AGENT)))
    return "-" if share is None else f"{share:.0f}%"


def _memory(model: Model, row: Row) -> str:
    samples = model.samples.get(row["id"].removeprefix(AGENT))
    if samples is None or samples[1].memory_bytes is None:
        return "-"
    return f"{samples[1].memory_bytes / MEBI:.0f}M"


def _denials(model: Model, row: Row) -> str:
    count = model.denials.get(row["id"].removeprefix(AGENT), 0)
    return str(count) if count else "-"


def columns(model: Model) -> tuple[Column, ...]:
    """The columns of the tree."""
    return (
        Column("NAME", lambda row: row["drawn"]),
        Column("STATE", tables.state),
        Column("PID", lambda row: "-" if row["pid"] is None else str(row["pid"]), right=True),
        Column("RST", lambda row: str(row["restarts_total"]), right=True),
        Column("UPTIME", lambda row: durations.short(row["uptime_s"]), right=True),
        Column("CPU", lambda row: _cpu(model, row), right=True),
        Column("MEM", lambda row: _memory(model, row), right=True),
        Column("DENIED", lambda row: _denials(model, row), right=True),
    )


def head(model: Model) -> Line:
    """The first line: the system at a glance."""
    status = model.status
    if not status:
        return Line("NullBox: waiting for the daemon", "title")
    memory = status.get("memory") or {}
    used = f"  mem {memory['used_mib']}/{memory['total_mib']} MiB" if memory else ""
    health = "healthy" if status["healthy"] else "NOT HEALTHY"
    up = durations.short(status.get("uptime_s"))
    text = f"NullBox {status['version']}  {health}  up {up}{used}  {status['driver']}"
    return Line(safe(text), "title" if status["healthy"] else "bad")


def nodes(model: Model) -> list[Line]:
    """The tree, titles first."""
    rows = [{**node, "drawn": before + str(node["id"])} for before, node in branches(model.tree)]
    text = table_lines(columns(model), rows)
    lines = [Line(text[0], "dim")]
    for line, row in zip(text[1:], rows, strict=True):
        style = "bad" if row["state"] in ("failed", "backoff") else ""
        lines.append(Line(line, "selected" if row["id"] == model.selected else style))
    return lines


def table_lines(shown: Sequence[Column], rows: Sequence[Row]) -> list[str]:
    """As `render.table`, line by line."""
    from nullbox.cli.render import table

    return table(shown, rows).splitlines()


def lower(model: Model, height: int) -> list[Line]:
    """Events, or an agent's log, newest at the bottom."""
    if model.logs_of:
        title, body = f"LOG of {model.logs_of} (l: back)", [safe(text) for text in model.logs]
    else:
        title, body = "EVENTS", [tables.event(event) for event in model.events]
    kept = body[-(height - 1) :] if height > 1 else []
    return [Line(title, "dim"), *(Line(text) for text in kept)]


def screen(model: Model, columns_wide: int, rows_high: int) -> list[Line]:
    """Exactly `rows_high` lines, none wider than the screen."""
    top = [head(model), Line("")]
    bottom = Line(model.problem or model.message or KEYS, "bad" if model.problem else "dim")
    room = rows_high - len(top) - 1
    tree = nodes(model)
    most = max(2, room - MIN_EVENTS - 1)
    if len(tree) > most:
        tree = _around(tree, most)
    below = lower(model, max(0, room - len(tree) - 1))
    body = [*top, *tree, Line(""), *below][: rows_high - 1]
    body += [Line("")] * (rows_high - 1 - len(body))
    return [Line(fit(line.text, columns_wide), line.style) for line in [*body, bottom]]


def _around(tree: list[Line], most: int) -> list[Line]:
    """The titles and the lines around the selected one."""
    chosen = next((index for index, line in enumerate(tree) if line.style == "selected"), 1)
    first = max(1, min(chosen - (most - 1) // 2, len(tree) - (most - 1)))
    return [tree[0], *tree[first : first + most - 1]]


def fit(text: str, columns_wide: int) -> str:
    """Cut or filled to the width of the screen."""
    while width(text) > columns_wide:
        text = text[:-1]
    return pad(text, columns_wide)


def with_sample(model: Model, agent: str, at: float, stats: Mapping[str, Any] | None) -> Model:
    """The model with what an agent uses now."""
    samples = dict(model.samples)
    if stats is None:
        samples.pop(agent, None)
    else:
        new = Sample(at, stats.get("cpu_usec"), stats.get("memory_bytes"))
        old = samples[agent][1] if agent in samples else new
        samples[agent] = (old, new)
    return replace(model, samples=samples)

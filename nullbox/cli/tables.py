"""What the tables of nullctl show, column by column. Pure data and small functions."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from nullbox.cli import durations
from nullbox.cli.render import Column, Row, branches, cut, table

VALUE_WIDTH = 60


def last_exit(row: Row) -> str:
    """`failed (3): agent exited with 3`."""
    last = row.get("last_exit")
    if not last:
        return "-"
    code = "" if last.get("code") is None else f" ({last['code']})"
    detail = f": {last['detail']}" if last.get("detail") else ""
    return cut(f"{last['kind']}{code}{detail}", VALUE_WIDTH)


def state(row: Row) -> str:
    """The state, and what it waits for: `backoff 4s`, `starting (waits for egress)`."""
    text = str(row["state"])
    if row.get("next_restart_in_s") is not None:
        text += f" {durations.short(row['next_restart_in_s'])}"
    if row.get("waiting_for"):
        text += f" (waits for {', '.join(row['waiting_for'])})"
    return text


def clock(seconds: float) -> str:
    """A time as UTC, to the second."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _plain(name: str) -> Any:
    return lambda row: "-" if row.get(name) is None else str(row[name])


LIFE = (
    Column("STATE", state),
    Column("PID", _plain("pid"), right=True),
    Column("RESTARTS", _plain("restarts_total"), right=True),
    Column("UPTIME", lambda row: durations.short(row.get("uptime_s")), right=True),
    Column("LAST EXIT", last_exit),
)


TREE = (
    *LIFE[:2],
    Column("INCARNATION", _plain("incarnation"), right=True),
    Column("RESTARTS", lambda row: f"{row.get('restarts', 0)} of {row.get('restarts_total', 0)}", right=True),
    *LIFE[3:],
)
"""The same for the tree, and which incarnation lives. Restarts: those that count against the limit now, of all."""


def people(title: str, rows: Sequence[Row]) -> str:
    """Services or agents."""
    return table((Column(title, _plain("name")), *LIFE), rows)


def tree(nodes: Sequence[Row], *, ascii_only: bool = False) -> str:
    """The supervision tree."""
    lines = [{**node, "drawn": before + str(node["id"])} for before, node in branches(nodes, ascii_only=ascii_only)]
    return table((Column("NAME", _plain("drawn")), *TREE), lines)


def status(answer: Row) -> str:
    """The system at a glance."""
    acceleration = answer.get("acceleration") or {}
    kvm = f"KVM ({acceleration.get('extension')})" if acceleration.get("kvm") else "no KVM"
    if acceleration.get("kvm") and not acceleration.get("extension"):
        kvm = "KVM device without a usable CPU extension"
    if acceleration.get("emulated_cpu"):
        kvm += ", emulated CPU"
    head = [
        ("health", "healthy" if answer["healthy"] else "NOT HEALTHY"),
        ("version", f"{answer['version']}, kernel {answer.get('kernel')}"),
        ("isolation", f"{answer['driver']}: {answer['isolation']}; {kvm}"),
        ("uptime", durations.short(answer.get("uptime_s"))),
    ]
    if kept := answer.get("state"):
        what = "on disk" if kept.get("kind") == "disk" else "IN MEMORY, lost when the machine goes off"
        head.append(("state", f"{what}; {kept.get('detail')}"))
    if uplink := answer.get("uplink"):
        head.append(("uplink", _uplink(uplink)))
    if said := _settings(answer.get("egress") or {}):
        head.append(("egress", said))
    if answer.get("age_s"):
        head.append(("seen", f"{durations.short(answer['age_s'])} ago: nulld does not answer now"))
    lines = "\n".join(f"{name:<10} {value}" for name, value in head)
    parts = [lines, people("SERVICE", answer["services"])]
    parts.append(people("AGENT", answer["agents"]) if answer["agents"] else "no agents")
    return "\n\n".join(parts)


def _uplink(row: Row) -> str:
    """`eth0 192.0.2.7/24 by dhcp`, or why there is no address."""
    where = f"{row['address']}/{row['prefix']} by {row.get('how')}" if row.get("address") else "no address yet"
    return f"{row.get('interface')} {where}" + (f"; {row['error']}" if row.get("error") else "")


def _settings(egress: Row) -> str:
    """What nulld.toml says about the way out, every relaxation above all; empty if it says nothing."""
    said = [
        *([f"by {', '.join(egress['uplinks'])}"] if egress.get("uplinks") else []),
        *([f"names asked of {', '.join(egress['upstreams'])}"] if egress.get("upstreams") else []),
        *([f"EXCEPTIONS: agents may reach {', '.join(egress['exceptions'])}"] if egress.get("exceptions") else []),
        *(["LEARNING is permitted"] if egress.get("learn") else []),
    ]
    return "; ".join(said)


ENTRIES = (
    Column("SEQ", _plain("seq"), right=True),
    Column("TIME", lambda row: clock(row["ts_ns"] / 1e9)),
    Column("AGENT", _plain("agent_id")),
    Column("KEY", _plain("key")),
    Column("VALUE", lambda row: cut(json.dumps(row.get("value"), ensure_ascii=False), VALUE_WIDTH)),
    Column("HASH", _plain("hash")),
)

WRITERS = (
    Column("AGENT", _plain("agent_id")),
    Column("ENTRIES", _plain("entries"), right=True),
    Column("BYTES", _plain("bytes"), right=True),
)

HIDDEN = frozenset({"seq", "ts", "kind", "child", "path", "traceback", "last_messages"})


def event_detail(row: Row) -> str:
    """What a kind of event adds, as `name=value`, without the long parts (JSON has them)."""
    return cut(" ".join(f"{name}={_short(value)}" for name, value in row.items() if name not in HIDDEN), 100)


def _short(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def event(row: Row) -> str:
    """One event on one line, for a list that grows."""
    from nullbox.cli.safe import safe

    subject = row.get("child") or row.get("path") or ""
    return safe(f"{row['seq']:>6}  {clock(row['ts'])}  {row['kind']:<12}  {subject:<20}  {event_detail(row)}").rstrip()


def denial(row: Row) -> str:
    """One denial on one line."""
    from nullbox.cli.safe import safe

    where = row.get("name") or row.get("address") or "-"
    port = f":{row['port']}" if row.get("port") else ""
    protocol = f"/{row['protocol']}" if row.get("protocol") else ""
    subject = f"{row['agent']:<16}  {row['kind']:<14}  {where}{port}{protocol}"
    return safe(
        f"{row['seq']:>6}  {clock(row['last'])}  x{row['count']:<5} {subject}  {row.get('reason', '')}"
    ).rstrip()


USED = (
    Column("ADDRESS", _plain("address")),
    Column("PORT", _plain("port"), right=True),
    Column("PROTOCOL", _plain("protocol")),
    Column("FLOWS", _plain("flows"), right=True),
    Column("NAMES", lambda row: ", ".join(row["names"]) or "-"),
)


def learned(answer: Row) -> str:
    """What a learning agent used, and the line for its manifest."""
    mode = "is learning" if answer["learning"] else "is not learning"
    if not answer["used"]:
        return f"{answer['agent']} {mode}; nothing used so far"
    return f"{table(USED, answer['used'])}\n\n{answer['agent']} {mode}\nallow = {json.dumps(answer['allow'])}"


MEBI = 1 << 20

STATS: tuple[tuple[str, Callable[[Row], str]], ...] = (
    ("cpu time", lambda stats: durations.short(stats["cpu_usec"] / 1e6) if "cpu_usec" in stats else "-"),
    ("memory", lambda stats: f"{stats['memory_bytes'] / MEBI:.1f} MiB" if "memory_bytes" in stats else "-"),
    (
        "memory peak",
        lambda stats: f"{stats['memory_peak_bytes'] / MEBI:.1f} MiB" if "memory_peak_bytes" in stats else "-",
    ),
    ("tasks", lambda stats: str(stats.get("tasks", "-"))),
    ("throttled", lambda stats: durations.short(stats["throttled_usec"] / 1e6) if "throttled_usec" in stats else "-"),
    ("OOM kills", lambda stats: str(stats.get("oom_kills", "-"))),
    ("net sent", lambda stats: _kibibytes(stats, "net_sent_bytes")),
    ("net received", lambda stats: _kibibytes(stats, "net_received_bytes")),
)


def _kibibytes(stats: Row, name: str) -> str:
    return f"{stats[name] / 1024:.1f} KiB" if name in stats else "-"


def usage(answer: Row) -> str:
    """What a VM uses."""
    stats = answer["stats"]
    if stats is None:
        return f"{answer['name']} is {answer['state']} and uses nothing"
    rows = [*((name, show(stats)) for name, show in STATS), ("restarts", str(answer["restarts"]))]
    return "\n".join(f"{name:<12} {text}" for name, text in rows)


def usages(answers: Sequence[Row]) -> str:
    """What several VMs use, a line each."""

    def column(title: str, show: Callable[[Row], str]) -> Column:
        return Column(title.upper(), lambda row: show(row["stats"] or {}), right=True)

    columns = (column(*each) for each in STATS)
    return table((Column("NAME", _plain("name")), Column("STATE", _plain("state")), *columns), answers)

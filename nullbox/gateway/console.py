"""The machine's own console: since nobody can log in, it says by itself what the system is and what happened.

Read-only: nothing is ever read from it. Effects: writes lines to /dev/console, and asks for the address of the uplink.
What the lines say is decided by pure functions.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import socket
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nullbox.gateway import machine, views
from nullbox.gateway.core import Core
from nullbox.protocols.errors import NullBoxError

PATH = Path("/dev/console")
LOOK_EVERY = 2.0
LOOK_AT_START = 0.5
"""Seconds between two looks until the system is healthy for the first time: somebody may be waiting for it."""
SIOCGIFADDR = 0x8915
"""netdevice(7): the IPv4 address of an interface."""
LONGEST = 200

_CONTROL = re.compile(r"[^\x20-\x7e]")

QUIET_KINDS = frozenset({"state", "boot", "added", "phase"})
"""Kinds that the summary says better, or that would fill the screen."""
LOUD_STATES = frozenset({"failed", "backoff"})

Row = Mapping[str, Any]


def worth_showing(event: Row) -> bool:
    """Whether an event goes to the console: what went wrong, and what somebody changed."""
    if event["kind"] == "state":
        return event.get("to") in LOUD_STATES
    if event["kind"] == "exit":
        return event.get("intent") is None
    return event["kind"] not in QUIET_KINDS


def event_line(event: Row) -> str:
    """One event on one line, in characters that any console shows."""
    hidden = ("seq", "ts", "kind", "child", "path", "traceback", "last_messages", "boot_id")
    detail = " ".join(f"{name}={value}" for name, value in event.items() if name not in hidden and value is not None)
    return plain(f"{event['kind']} {event['child']}: {detail}" if event["child"] else f"{event['kind']}: {detail}")


def summary(tree: Sequence[Row], version: str, addresses: Mapping[str, str]) -> list[str]:
    """What the system is and does now, in a few lines."""
    health = "healthy" if views.healthy(tree) else "not healthy yet"
    where = ", ".join(f"{name} {address}" for name, address in addresses.items()) or "no address"
    agents = ", ".join(f"{each['name']} {each['state']}" for each in views.agents(tree)) or "none"
    down = [f"{each['name']} {each['state']}" for each in views.services(tree) if each["state"] != "running"]
    services = "all run" if not down else ", ".join(down)
    lines = [f"NullBox {version} is {health}; {where}", f"services: {services}; agents: {agents}"]
    return [plain(line) for line in lines]


def plain(text: str) -> str:
    """ASCII without control characters, of bounded length."""
    shown = _CONTROL.sub("?", text)
    return shown if len(shown) <= LONGEST else shown[: LONGEST - 3] + "..."


def addresses(sys: Path = Path("/sys")) -> dict[str, str]:
    """IPv4 address of each Ethernet device that has one: not of loopback, not of agents' TAPs."""
    found = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for entry in sorted((sys / "class/net").glob("*")):
            if entry.name == "lo" or (entry / "tun_flags").exists():
                continue
            request = struct.pack("256s", entry.name.encode()[:15])
            with contextlib.suppress(OSError):
                answer = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)
                found[entry.name] = socket.inet_ntoa(answer[20:24])
    return found


class Console:
    """Writes lines. One that cannot be written is dropped: a full or absent console is no reason to wait."""

    def __init__(self, path: Path = PATH) -> None:
        self._fd = -1
        with contextlib.suppress(OSError):
            self._fd = os.open(path, os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)

    def write(self, lines: Sequence[str]) -> None:
        if self._fd >= 0 and lines:
            with contextlib.suppress(OSError):
                os.write(self._fd, "".join(f"nullbox | {line}\n" for line in lines).encode("ascii"))

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


async def show(core: Core, console: Console, changed: asyncio.Event, period: float = LOOK_EVERY) -> None:
    """Run for ever: events as they come, and the summary whenever it says something new.

    changed: set when an actor came or went: what there is to see is seen at once then.
    """
    said: list[str] = []
    up = False
    seen = core.journal.last_seq
    version = str(machine.versions()["version"])
    while True:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(period if up else min(period, LOOK_AT_START)):
                await changed.wait()
        changed.clear()
        events = core.journal.since(seen)["events"]
        console.write([event_line(event) for event in events if worth_showing(event)])
        if events or not up:
            # Once it is up, nothing has changed without an event, and nobody needs to be asked.
            seen = core.journal.last_seq
            with contextlib.suppress(NullBoxError):
                tree, _ = await core.tree_soon()
                up = up or views.healthy(tree)
                now = summary(tree, version, addresses())
                if now != said:
                    console.write(now)
                    said = now

"""Which TCP and UDP sockets listen in this network namespace, as `ss -lntup` finds it out."""

from __future__ import annotations

import os
from pathlib import Path

TABLES = {"tcp": "0A", "tcp6": "0A", "udp": "07", "udp6": "07"}
"""File below /proc/net → state of a socket that takes packets (TCP_LISTEN, TCP_CLOSE for UDP)."""


def listening_inodes() -> set[int]:
    found = set()
    for table, state in TABLES.items():
        path = Path("/proc/net") / table
        for line in path.read_text().splitlines()[1:] if path.exists() else []:
            fields = line.split()
            if fields[3] == state:
                found.add(int(fields[9]))
    return found


def listening_of(pids: set[int]) -> dict[int, list[str]]:
    """Of these processes: pid → its sockets that listen."""
    names = {f"socket:[{inode}]" for inode in listening_inodes()}
    found: dict[int, list[str]] = {}
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(entry)
            except OSError:
                continue
            if target in names:
                found.setdefault(pid, []).append(target)
    return found

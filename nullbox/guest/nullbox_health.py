"""The health check of a manifest, made inside the VM: an HTTP request to the agent's own port, every so often.

`max_failures` in a row, and the agent counts as failed: the launcher ends it, and its VM ends with 124.
Loaded only for agents that have a check, since every import delays an agent.

Source: RFC 9112, section 4 (the status line). Success is a status of 200 to 399.
"""

from __future__ import annotations

import _socket
import time

PATIENCE = 2.0
"""Seconds for one request. The launcher does nothing else meanwhile."""

MAX_STATUS_LINE = 512


class Health:
    """When to ask, and how often in a row the answer was no."""

    def __init__(self, port: int, path: str, interval: float, max_failures: int) -> None:
        """interval: seconds from one check to the next, and from the start to the first."""
        self.port, self.path = port, path
        self._interval = interval
        self._max_failures = max_failures
        self._failures = 0
        self._due = time.monotonic() + interval

    def left(self) -> float:
        """Seconds until the next check."""
        return max(0.0, self._due - time.monotonic())

    def step(self) -> str | None:
        """Check if it is time. Returns why the agent has failed, once it has; None otherwise."""
        if time.monotonic() < self._due:
            return None
        why = probe(self.port, self.path)
        self._due = time.monotonic() + self._interval
        self._failures = 0 if why is None else self._failures + 1
        if self._failures < self._max_failures:
            return None
        return f"GET http://127.0.0.1:{self.port}{self.path} failed {self._failures} times in a row, last: {why}"


def probe(port: int, path: str) -> str | None:
    """One request. None: healthy; else what was wrong with the answer."""
    connection = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE)
        connection.connect(("127.0.0.1", port))
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        line = b""
        until = time.monotonic() + PATIENCE
        while b"\n" not in line and len(line) < MAX_STATUS_LINE:
            if time.monotonic() > until:
                return f"no status line within {PATIENCE:g} s"
            data = connection.recv(MAX_STATUS_LINE)
            if not data:
                break
            line += data
    except OSError as error:
        return error.strerror or str(error)
    finally:
        connection.close()
    words = line.split(b"\n")[0].split()
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        return f"no HTTP answer but {line[:40]!a}"
    return None if 200 <= int(words[1]) < 400 else f"status {int(words[1])}"

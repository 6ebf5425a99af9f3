"""The host's side of the control channel to the launcher in the guest.

libkrun listens on `control.sock` and passes each connection on to vsock port 9101 of the guest. The launcher sends one
hello line and takes commands, one JSON object a line. Parsing is pure; `ControlClient` is the edge (Unix socket).

Until the launcher listens, a connection is accepted by libkrun and then closed, so the client tries again, but not too
often: each try is work for a guest that is just booting. `step` never blocks. What a guest sends is not to be trusted:
lines are short, fields are checked, text is only ever shown escaped.
"""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MAX_LINE = 4096
"""Longest line from the guest in bytes."""

RETRY_INTERVAL = 0.5
"""Seconds between two connections. At 20 a second an emulated guest took noticeably longer to boot."""

TERMINATE = b'{"op":"terminate"}\n'
WELCOME = b'{"op":"welcome"}\n'
"""Answer to a hello: the launcher of an agent that has ended already waits for it before the VM goes."""


@dataclass(frozen=True, slots=True)
class Hello:
    """What the launcher says of itself: the guest's kernel release and boot id, the agent's pid in the guest."""

    kernel: str
    boot_id: str
    pid: int


class BadGuest(ValueError):
    """The guest sent something that is no message of this channel."""


def parse_hello(line: bytes) -> Hello:
    """Read a hello line.

    Raises:
        BadGuest: too long, not JSON, or not the fields of a hello.
    """
    if len(line) > MAX_LINE:
        raise BadGuest(f"a line of {len(line)} bytes; at most {MAX_LINE} are allowed")
    try:
        data: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadGuest(f"not JSON: {line[:80]!r}") from error
    if not isinstance(data, dict):
        raise BadGuest(f"not an object: {line[:80]!r}")
    pid = data.get("pid")
    if not isinstance(pid, int) or isinstance(pid, bool) or not 0 < pid < 1 << 31:
        raise BadGuest(f"not a hello: {line[:80]!r}")
    return Hello(_short_text(data, "kernel"), _short_text(data, "boot_id"), pid)


def _short_text(data: dict[str, Any], key: str) -> str:
    value = data.get(key)
    if isinstance(value, str) and 0 < len(value) <= 128 and value.isascii() and value.isprintable():
        return value
    raise BadGuest(f"not a hello: {key} is {ascii(value)[:80]}")


class LineBuffer:
    """Bytes in, whole lines out. Pure."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that are complete now, without their newline.

        Raises:
            BadGuest: a line does not end within `MAX_LINE` bytes.
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from lines
        if len(self._rest) > MAX_LINE:
            raise BadGuest(f"a line of more than {MAX_LINE} bytes")


class ControlClient:
    """One connection to a guest's launcher, made again until it says hello. Never blocks.

    owner: the user whose socket it has to be; None for any. The VMM makes the socket, so the path alone proves nothing.
    """

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        """clock: seconds that only grow."""
        self._path = path
        self._clock = clock
        self._not_before = clock()
        self._socket: socket.socket | None = None
        self._lines = LineBuffer()
        self._terminate = False
        self.owner: int | None = None
        self.hello: Hello | None = None

    def fileno(self) -> int:
        """The connection's descriptor, -1 while there is none."""
        return -1 if self._socket is None else self._socket.fileno()

    def step(self) -> Hello | None:
        """Connect if need be, and read what has come. Returns the hello once, when it arrives.

        Raises:
            BadGuest: the guest broke the channel's rules. The connection is closed.
        """
        if self._socket is None and not self._connect():
            return None
        assert self._socket is not None
        try:
            data = self._socket.recv(65536)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            self.close()
            return None
        try:
            return self._take(data)
        except BadGuest:
            self.close()
            raise

    def terminate(self) -> None:
        """Ask the launcher to send SIGTERM to the agent, now or as soon as there is a connection."""
        self._terminate = True
        if self._socket is not None:
            self._say(TERMINATE)

    def close(self) -> None:
        """Drop the connection. The next `step` makes a new one."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
            self._lines = LineBuffer()

    def _connect(self) -> bool:
        now = self._clock()
        if now < self._not_before:
            return False
        self._not_before = now + RETRY_INTERVAL
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        connection.setblocking(False)
        try:
            connection.connect(str(self._path))
            if self.owner is not None and self.owner != _listener_of(connection):
                raise PermissionError(f"{self._path} is somebody else's socket")
        except OSError:  # not there yet, nobody listens yet, or its backlog is full: the next step tries again
            connection.close()
            return False
        self._socket = connection
        return True

    def _take(self, data: bytes) -> Hello | None:
        said: Hello | None = None
        for line in self._lines.feed(data):
            if self.hello is None:
                said = self.hello = parse_hello(line)
                self._say(WELCOME)
        if self._terminate:
            self._say(TERMINATE)
        return said

    def _say(self, command: bytes) -> None:
        assert self._socket is not None
        with contextlib.suppress(OSError):
            # Some 20 bytes into an empty socket: they fit, or the connection is gone and the next one sends them.
            self._socket.send(command)


def _listener_of(connection: socket.socket) -> int:
    """The user who called listen(2) at the other end (SO_PEERCRED, unix(7))."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(uid)

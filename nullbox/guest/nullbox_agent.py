"""For agents written in Python: the shared memory, the log, and health.

    from nullbox_agent import ctx, log

    ctx.write("research.topic", {"title": "tides"})
    for entry in ctx.query("research."):
        log(entry["key"], entry["value"])

`ctx` is a client of ctxgraph that connects when it is first used and again after a loss. Who the agent is, it need not
say: the channel knows. Everything that goes wrong is a `CtxError`; its `code` is a word such as `denied`.

An entry is a dict: `hash`, `agent_id`, `key`, `value`, `seq` (its place in the log), `ts_ns` (nanoseconds since 1970).
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

HOST_CID = 2
"""The host as seen from a VM; see vsock(7)."""

DEFAULT_PORT = 9100
SOCKET_VARIABLE = "NULLBOX_CTX_SOCKET"
"""For development outside a VM: path of a Unix socket to use instead of vsock."""

MAX_LINE = 1 << 20
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0

Entry = dict[str, Any]


class CtxError(Exception):
    """ctxgraph refused, or could not be reached.

    code: `not_found`, `invalid`, `denied`, `too_large`, `timeout`, `unavailable`, `conflict`, `wrong_state` or
    `internal`.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def __str__(self) -> str:
        return f"{self.args[0]} ({self.code})"


class Connection:
    """One connection: requests out, answers and stream values in. Broken once, it stays broken."""

    def __init__(self, path: str | None, timeout: float) -> None:
        self._socket = _connect(path, timeout)
        self._socket.settimeout(timeout)
        self._lines = self._socket.makefile("rb")
        self._next = 0

    def request(self, method: str, params: dict[str, Any]) -> Any:
        """Send one request and wait for its answer.

        Raises:
            CtxError: the server refused.
            OSError: the connection broke or the answer is late.
        """
        self._next += 1
        message = {"jsonrpc": "2.0", "id": self._next, "method": method, "params": params}
        line = _encode(message)
        self._socket.sendall(line)
        while True:
            answer = self.receive()
            if answer.get("id") == self._next:
                break
        if "error" in answer:
            error = answer["error"]
            code = (error.get("data") or {}).get("code", "internal")
            raise CtxError(str(code), str(error.get("message", "no reason given")))
        return answer.get("result")

    def receive(self, *, forever: bool = False) -> dict[str, Any]:
        """The next message. Raises OSError."""
        if forever:
            self._socket.settimeout(None)
        line = self._lines.readline(MAX_LINE + 1)
        if not line.endswith(b"\n"):
            raise ConnectionResetError("ctxgraph closed the connection")
        message = json.loads(line)
        if not isinstance(message, dict):
            raise ConnectionResetError("ctxgraph sent something that is no message")
        return message

    def close(self) -> None:
        self._lines.close()
        self._socket.close()


class Ctx:
    """The shared memory of all agents, as far as this one's manifest allows. Safe to use from several threads."""

    def __init__(self, path: str | None = None, *, timeout: float = 10.0, patience: float = 30.0) -> None:
        """path: a Unix socket instead of vsock. timeout: seconds until an answer is late. patience: seconds for which
        a lost connection is made anew before a call gives up."""
        self._path = path
        self._timeout = timeout
        self._patience = patience
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def write(self, key: str, value: Any, **options: Any) -> Entry:
        """Store a value of any JSON type under a key. When this returns, it is stored for good.

        If the connection breaks before the answer, the write is sent again: then it may be in the log twice, once with
        each `seq`, and never not at all. Returns `hash`, `seq` and `ts_ns`.
        """
        return dict(self.call("write", {"key": key, "value": value, **options}))

    def read(self, hash: str) -> Entry:
        """The entry with this hash (64 hex digits). `not_found` if there is none."""
        return dict(self.call("read", {"hash": hash}))

    def latest(self, key: str) -> Entry | None:
        """The newest entry of a key; None if it was never written."""
        try:
            return dict(self.call("latest", {"key": key}))
        except CtxError as error:
            if error.code == "not_found":
                return None
            raise

    def query(self, prefix: str = "", *, limit: int = 100, after: int | None = None) -> list[Entry]:
        """Entries whose key begins with the prefix, in the order of the log, after the given `seq`."""
        return self._page("query", {"prefix": prefix, "limit": limit}, after)

    def history(self, key: str, *, limit: int = 100, after: int | None = None) -> list[Entry]:
        """Every entry of a key, oldest first."""
        return self._page("history", {"key": key, "limit": limit}, after)

    def watch(self, prefix: str = "", *, since_seq: int | None = None) -> Iterator[Entry]:
        """Entries as they are written, for ever; from after `since_seq`, or from now on.

        A lost connection is made anew, and the entries of the gap follow: none is left out, none comes twice.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                connection = self._retry(lambda: Connection(self._path, self._timeout))
                params = {"prefix": prefix} | ({} if since_seq is None else {"since_seq": since_seq})
                opened = connection.request("watch", params)
                since_seq = opened.get("since_seq", since_seq)
                for entry in _stream(connection, opened["subscription"]):
                    since_seq = entry.get("seq", since_seq)
                    pause = FIRST_PAUSE
                    yield entry
            except CtxError as error:
                if error.code != "unavailable":  # the store closes, or this watcher was too slow: go on from here
                    raise
            except (OSError, ValueError):
                pass
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def call(self, method: str, params: dict[str, Any]) -> Any:
        """Any method of ctxgraph by name. Raises CtxError."""
        with self._lock:
            return self._retry(lambda: self._once(method, params))

    def close(self) -> None:
        """Close the connection. The next call makes a new one."""
        with self._lock:
            self._drop()

    def _page(self, method: str, params: dict[str, Any], after: int | None) -> list[Entry]:
        answer = self.call(method, params | ({} if after is None else {"after": after}))
        return list(answer["entries"])

    def _once(self, method: str, params: dict[str, Any]) -> Any:
        if self._connection is None:
            self._connection = Connection(self._path, self._timeout)
        return self._connection.request(method, params)

    def _retry(self, action: Callable[[], Any]) -> Any:
        deadline = time.monotonic() + self._patience
        pause = FIRST_PAUSE
        while True:
            try:
                return action()
            except (OSError, ValueError) as error:  # ValueError: a line that is no JSON; the connection is of no use
                self._drop()
                if time.monotonic() + pause > deadline:
                    raise CtxError("unavailable", f"ctxgraph cannot be reached: {error}") from error
            time.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _stream(connection: Connection, subscription: str) -> Iterator[Entry]:
    try:
        while True:
            params = connection.receive(forever=True).get("params") or {}
            if params.get("subscription") != subscription:
                continue
            if params.get("end"):
                error = params.get("error")
                if error:
                    raise CtxError(str((error.get("data") or {}).get("code", "internal")), str(error.get("message")))
                return
            yield params["value"]
    finally:
        connection.close()


def _connect(path: str | None, timeout: float) -> socket.socket:
    chosen = path or os.environ.get(SOCKET_VARIABLE)
    made = socket.socket(socket.AF_UNIX if chosen else socket.AF_VSOCK, socket.SOCK_STREAM)
    made.settimeout(timeout)
    try:
        made.connect(chosen or (HOST_CID, int(os.environ.get("CTXGRAPH_PORT", DEFAULT_PORT))))
    except OSError:
        made.close()
        raise
    return made


def _encode(message: dict[str, Any]) -> bytes:
    try:
        line = json.dumps(message, allow_nan=False, separators=(",", ":")).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        raise CtxError("invalid", f"not a JSON value: {error}") from error
    if len(line) > MAX_LINE:
        raise CtxError("too_large", f"the request has {len(line)} bytes; at most {MAX_LINE} are allowed")
    return line


def log(*words: Any) -> None:
    """Print to the agent's log (`nullctl agent logs NAME`), at once."""
    print(*words, file=sys.stdout, flush=True)


ctx = Ctx()
"""The client that most agents need."""

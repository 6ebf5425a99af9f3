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
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import EllipsisType

HOST_CID = 2
"""The host as seen from a VM; see vsock(7)."""
DEFAULT_PORT = 9100
SOCKET_VARIABLE = "NULLBOX_CTX_SOCKET"
"""For development outside a VM: path of a Unix socket to use instead of vsock."""

MAX_LINE = 1 << 20
MAX_PAGE = 1000
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 2.0

Entry = dict[str, Any]


class CtxError(Exception):
    """ctxgraph refused, or could not be reached.

    code: a word: `not_found`, `invalid`, `denied`, `too_large`, `timeout`, `unavailable`, `conflict`, `wrong_state`, …
    data: what else a program may want to know: `head` with `conflict`, `quota` and `limit` with some `denied`.
    """

    def __init__(self, code: str, message: str, data: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.data: dict[str, Any] = dict(data or {})

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
        while (answer := self.receive()).get("id") != self._next:
            pass
        if "error" in answer:
            raise _error(answer["error"])
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

    def write(
        self,
        key: str,
        value: Any,
        *,
        expected_head: str | EllipsisType | None = ...,
        ttl_s: float | None = None,
        parents: Iterable[str] = (),
    ) -> Entry:
        """Store a value of any JSON type under a key. When this returns `hash`, `seq` and `ts_ns`, it is for good.

        expected_head: write only if the key's latest entry has this hash (None: if there is none). Otherwise
            `conflict`, with the hash that it has in `error.data["head"]`.
        ttl_s: seconds after which the entry ends by itself. parents: hashes of what it was made from (see `graph`).

        If the connection breaks meanwhile, it is sent again: it may be in the log twice, or be in conflict with itself.
        """
        params: dict[str, Any] = {"key": key, "value": value, "ttl_s": ttl_s, "parents": list(parents) or None}
        if expected_head is not ...:
            params["expected_head"] = expected_head
        return dict(self.call("write", params))

    def delete(self, key: str) -> Entry:
        """End a key: `latest` finds nothing until the next write. History stays."""
        return dict(self.call("delete", {"key": key}))

    def erase(self, hash: str) -> Entry:
        """Destroy the value of an own entry. That it was there stays on record."""
        return dict(self.call("erase", {"hash": hash}))

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

    def query(
        self, prefix: str = "", *, limit: int = 100, after: int | None = None, newest_first: bool = False
    ) -> list[Entry]:
        """Up to `limit` entries whose key begins with the prefix, in the order of the log, after (or, with
        `newest_first`, below) the given `seq`."""
        return self._pages("query", {"prefix": prefix}, limit, after, newest_first)

    def own(self, prefix: str = "", *, limit: int = 100) -> list[Entry]:
        """What this agent itself wrote, newest first, among the newest `limit` entries under the prefix: where to go on
        after a restart. Others may have written there too; what was erased is left out."""
        name = os.environ.get("AGENT_NAME")
        newest = self.query(prefix, limit=limit, newest_first=True)
        return [entry for entry in newest if entry["agent_id"] == name and not entry.get("erased")]

    def history(
        self, key: str, *, limit: int = 100, after: int | None = None, newest_first: bool = False
    ) -> list[Entry]:
        """What happened to a key: writes, and events (`entry["event"]`: `delete`, `expire`, `erase`)."""
        return self._pages("history", {"key": key}, limit, after, newest_first)

    def search(self, text: str, prefix: str = "", *, limit: int = 20) -> list[Entry]:
        """Entries whose value holds all these words, best first."""
        return list(self.call("search", {"text": text, "prefix": prefix, "limit": limit})["entries"])

    def graph(self, hash: str, *, direction: str = "ancestors", depth: int = 10) -> dict[str, Any]:
        """Where an entry came from (`ancestors`) or what came of it (`descendants`): `nodes` (with `hash`, `key`,
        `agent_id`, `seq`, `depth`; or `hidden`, if this agent may not read it), and `edges`: (child, parent) hashes."""
        return dict(self.call("graph", {"hash": hash, "direction": direction, "depth": depth}))

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

    def _pages(
        self, method: str, params: dict[str, Any], limit: int, after: int | None, newest_first: bool
    ) -> list[Entry]:
        """Ask until there are `limit` entries or no more: an answer holds no more than a line does."""
        params = params | {"order": "desc" if newest_first else "asc"}
        entries: list[Entry] = []
        while True:
            params["limit"] = min(limit - len(entries), MAX_PAGE)
            answer = self.call(method, params | ({} if after is None else {"after": after}))
            entries += answer["entries"]
            after = answer["next"]
            if after is None or len(entries) >= limit:
                return entries

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


def _error(error: dict[str, Any]) -> CtxError:
    data = error.get("data") or {}
    return CtxError(str(data.get("code", "internal")), str(error.get("message", "no reason given")), data)


def _stream(connection: Connection, subscription: str) -> Iterator[Entry]:
    try:
        while True:
            params = connection.receive(forever=True).get("params") or {}
            if params.get("subscription") != subscription:
                continue
            if params.get("end"):
                error = params.get("error")
                if error:
                    raise _error(error)
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
    """Print to the agent's log (`nullctl agent logs NAME`)."""
    print(*words, file=sys.stdout, flush=True)


ctx = Ctx()
"""The client that most agents need."""

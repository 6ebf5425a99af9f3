"""A blocking JSON-RPC client over a Unix socket. Effects: one socket. Imports little, for short-lived programs.

    with Client("/run/nulld.sock") as client:
        print(client.call("version"))
        with client.stream("events") as events:
            for event in events: ...

A client belongs to one thread at a time.
"""

from __future__ import annotations

import os
import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from nullbox.protocols import jsonrpc
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.framing import LineSplitter, TooLong
from nullbox.protocols.jsonrpc import ErrorAnswer, Result


class Unreachable(NullBoxError):
    """No server: nothing listens there, it may not be connected to, or it went away in the middle."""

    def __init__(self, message: str) -> None:
        super().__init__(ErrorCode.UNAVAILABLE, message)


class Client:
    """See the module. Connects at the first call, and again after the server went away.

    path: of a Unix socket, or `vsock:CID:PORT`. timeout: seconds for a call that has none of its own; None waits for
    ever.
    """

    def __init__(self, path: str | os.PathLike[str], *, timeout: float | None = 15.0) -> None:
        self.path = os.fspath(path)
        self.timeout = timeout
        self._socket: socket.socket | None = None
        self._splitter = LineSplitter()
        self._lines: deque[bytes] = deque()
        self._next_id = 0
        self._streams: dict[str, deque[dict[str, Any]]] = {}

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Hang up. Streams of this client end."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        self._splitter.reset()
        self._lines.clear()
        self._streams.clear()

    def call(self, method: str, params: dict[str, Any] | None = None, *, timeout: float | None = None) -> Any:
        """Ask and wait for the answer.

        Raises:
            Unreachable: there is no server.
            NullBoxError: the server's error; `timeout` if no answer came in time.
        """
        until = _deadline(self.timeout if timeout is None else timeout)
        self._connect(until)
        self._next_id += 1
        number = self._next_id
        self._send(jsonrpc.encode(jsonrpc.request(method, params, number)), until, method)
        while True:
            answer = jsonrpc.parse_answer(self._line(until, method))
            if isinstance(answer, Result) and answer.id == number:
                return answer.value
            if isinstance(answer, ErrorAnswer) and answer.id in (number, None):
                if answer.id is None:
                    self.close()
                raise answer.error
            self._keep(answer)

    def stream(
        self, method: str, params: dict[str, Any] | None = None, *, timeout: float | None = None
    ) -> Subscription:
        """Ask for a stream. Iterate over what is returned, or close it. `timeout` is for the first answer."""
        answer = self.call(method, params, timeout=timeout)
        name = answer.get("subscription") if isinstance(answer, dict) else None
        if not isinstance(name, str):
            raise NullBoxError(ErrorCode.INVALID, f"{method} does not stream; use call()")
        self._streams.setdefault(name, deque())
        return Subscription(self, name, answer)

    # --- for Subscription -----------------------------------------------------------------------------------

    def _next_of(self, name: str, timeout: float | None) -> dict[str, Any]:
        until = _deadline(timeout)
        while True:
            queue = self._streams.get(name)
            if queue is None:
                return {"end": True}
            if queue:
                return queue.popleft()
            self._keep(jsonrpc.parse_answer(self._line(until, "the stream")))

    def _cancel(self, name: str) -> None:
        if self._socket is not None and name in self._streams:
            try:
                self.call(jsonrpc.STREAM_CANCEL, {"subscription": name})
            except NullBoxError as error:
                # It ended at the server before this came: that was the wish.
                if error.code is not ErrorCode.NOT_FOUND:
                    raise
        self._streams.pop(name, None)

    # --- the socket -----------------------------------------------------------------------------------------

    def _keep(self, answer: object) -> None:
        """What is not the awaited answer: a value of an open stream is kept, a late answer is dropped."""
        if isinstance(answer, jsonrpc.Request) and answer.method == jsonrpc.STREAM:
            params = answer.params
            if isinstance(params, dict) and isinstance(params.get("subscription"), str):
                queue = self._streams.get(params["subscription"])
                if queue is not None:
                    queue.append(params)
        elif isinstance(answer, ErrorAnswer) and answer.id is None:
            self.close()
            raise answer.error

    def _connect(self, until: float | None) -> None:
        if self._socket is not None:
            if not _hung_up(self._socket):
                return
            # Idle for too long, or a restart of the server. Its last words were for nobody's question.
            self.close()
        family, address = address_of(self.path)
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.settimeout(_left(until))
            sock.connect(address)
        except FileNotFoundError:
            sock.close()
            raise Unreachable(f"nothing at {self.path}: is nulld running, is that its socket?") from None
        except ConnectionRefusedError:
            sock.close()
            raise Unreachable(f"nobody answers at {self.path}: nulld is not running") from None
        except PermissionError:
            sock.close()
            raise Unreachable(f"no permission to connect to {self.path}") from None
        except OSError as error:
            sock.close()
            raise Unreachable(f"cannot connect to {self.path}: {error.strerror or error}") from None
        self._socket = sock

    def _send(self, data: bytes, until: float | None, what: str) -> None:
        assert self._socket is not None
        try:
            self._socket.settimeout(_left(until))
            self._socket.sendall(data)
        except TimeoutError:
            # Half a line may be out: nothing after it would be understood.
            self.close()
            raise NullBoxError(ErrorCode.TIMEOUT, f"{what}: the server takes no input") from None
        except (BrokenPipeError, ConnectionResetError):
            # The reason may be waiting: a server says why before it hangs up.
            return
        except OSError as error:
            self.close()
            raise Unreachable(f"lost {self.path}: {error.strerror or error}") from None

    def _line(self, until: float | None, what: str) -> bytes:
        while not self._lines:
            if self._socket is None:
                raise Unreachable(f"the connection to {self.path} is closed")
            try:
                self._socket.settimeout(_left(until))
                data = self._socket.recv(65536)
            except TimeoutError:
                raise NullBoxError(ErrorCode.TIMEOUT, f"{what}: no answer in time") from None
            except OSError as error:
                self.close()
                raise Unreachable(f"lost {self.path}: {error.strerror or error}") from None
            if not data:
                self.close()
                raise Unreachable(f"the server at {self.path} hung up")
            for line in self._splitter.feed(data):
                if isinstance(line, TooLong):
                    self.close()
                    raise NullBoxError(ErrorCode.TOO_LARGE, f"{what}: an answer of more than {line.limit} bytes")
                self._lines.append(line)
        return self._lines.popleft()


class Subscription:
    """The values of a stream. Ends with StopIteration; raises the server's NullBoxError if the stream failed.

    opening: the answer that opened it.
    """

    def __init__(self, client: Client, name: str, opening: dict[str, Any]) -> None:
        self._client = client
        self._name = name
        self._over = False
        self.opening = opening

    def __enter__(self) -> Subscription:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self.next()
            except StopIteration:
                return

    def next(self, timeout: float | None = None) -> Any:
        """The next value.

        Raises:
            StopIteration: there are no more.
            NullBoxError: `timeout`, nothing came within that many seconds; the stream goes on.
        """
        if self._over:
            raise StopIteration
        params = self._client._next_of(self._name, timeout)
        if not params.get("end"):
            return params.get("value")
        self._over = True
        self._client._streams.pop(self._name, None)
        error = params.get("error")
        if isinstance(error, dict):
            raise jsonrpc.error_from(error)
        raise StopIteration

    def close(self) -> None:
        """Cancel the stream at the server, unless it is over."""
        if not self._over:
            self._over = True
            self._client._cancel(self._name)


def address_of(where: str) -> tuple[int, Any]:
    """Family and address of a server: `vsock:CID:PORT` (vsock(7)), else the path of a Unix socket. Pure."""
    word, _, rest = where.partition(":")
    cid, _, port = rest.partition(":")
    if word == "vsock" and cid.isdecimal() and port.isdecimal():
        return socket.AF_VSOCK, (int(cid), int(port))
    return socket.AF_UNIX, where


def _hung_up(sock: socket.socket) -> bool:
    """Whether the other end has closed."""
    poll = select.poll()
    poll.register(sock, 0)
    return any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll(0))


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _left(until: float | None) -> float | None:
    if until is None:
        return None
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left

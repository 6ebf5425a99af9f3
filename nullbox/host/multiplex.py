"""Several JSON-RPC clients over one channel: whose answer is this, whose stream? Pure; nothing is awaited here.

Every request gets an id of the multiplexer's own, which is rewritten back in the answer. A batch goes up as single
requests and comes back as one line when its last answer is there, so the far end needs no notion of clients.
Streams belong to the client whose request opened them; only it can cancel them, and they are cancelled when it
goes. What cannot be a request is answered here, so that the far end sees only well-formed lines.

The methods take one event and return what is to be sent, as `Send` values, in order.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from nullbox.protocols import jsonrpc
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.framing import MAX_LINE
from nullbox.protocols.jsonrpc import Batch, Invalid, Request, RequestId

MAX_PENDING = 4096
"""Requests under way for all clients together, those of clients that left included."""


@dataclass(frozen=True)
class Send:
    """A line to send: to the client with this key, or to the machine if it is None."""

    to: int | None
    line: bytes


@dataclass
class _BatchAnswer:
    """The answers that are there, of a batch whose other answers are awaited."""

    awaited: int
    answers: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Pending:
    """A request under way. `client` is None once the client is gone."""

    client: int | None
    id: RequestId
    batch: _BatchAnswer | None = None
    cancels: str | None = None


@dataclass
class _Client:
    in_flight: int = 0
    faults: int = 0
    subscriptions: set[str] = field(default_factory=set)


def unavailable(reason: str) -> NullBoxError:
    """The error for a request that cannot reach the system."""
    return NullBoxError(ErrorCode.UNAVAILABLE, reason)


def encode(message: dict[str, Any]) -> bytes:
    """One line, not longer than what came in needed: text stays UTF-8 where JSON allows it."""
    text = json.dumps(message, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    try:
        return text.encode() + b"\n"
    except UnicodeEncodeError:  # a lone surrogate, which came in as an escape
        return jsonrpc.encode(message)


class Multiplexer:
    """See the module. `up` says whether lines for the machine can be delivered; `down_reason` why not."""

    def __init__(self) -> None:
        self._clients: dict[int, _Client] = {}
        self._pending: dict[int, _Pending] = {}
        self._owners: dict[str, int] = {}
        self._next_id = 0
        self._up = False
        self._down_reason = "the machine is not up yet"

    @property
    def up(self) -> bool:
        return self._up

    def in_flight(self, client: int) -> int:
        """Requests of this client that have no answer yet."""
        return self._clients[client].in_flight if client in self._clients else 0

    def faults(self, client: int) -> int:
        """Lines of this client so far that were no requests."""
        return self._clients[client].faults if client in self._clients else 0

    # --- clients --------------------------------------------------------------------------------------------

    def add(self, client: int) -> None:
        """A client has connected under a key not in use."""
        if client in self._clients:
            raise ValueError(f"client {client} is there already")
        self._clients[client] = _Client()

    def remove(self, client: int) -> list[Send]:
        """A client is gone: cancel its streams; its answers, when they come, go nowhere."""
        state = self._clients.pop(client, None)
        if state is None:
            return []
        for pending in self._pending.values():
            if pending.client == client:
                pending.client = None
        sends = []
        for subscription in sorted(state.subscriptions):
            del self._owners[subscription]
            sends += self._cancel(subscription)
        return sends

    def from_client(self, client: int, line: bytes) -> list[Send]:
        """A client sent a line (without newline)."""
        if client not in self._clients:
            return []
        parsed = jsonrpc.parse(line)
        if isinstance(parsed, Batch):
            awaited = sum(not (isinstance(item, Request) and item.notification) for item in parsed.items)
            batch = _BatchAnswer(awaited)
            return [send for item in parsed.items for send in self._one(client, item, batch)]
        return self._one(client, parsed, None)

    def too_long(self, client: int, limit: int) -> list[Send]:
        """A client sent a line of more than `limit` bytes."""
        if client in self._clients:
            self._clients[client].faults += 1
        error = NullBoxError(ErrorCode.TOO_LARGE, f"a line of more than {limit} bytes; send less at a time")
        return [Send(client, encode(jsonrpc.failure(None, error)))]

    def _one(self, client: int, item: Request | Invalid, batch: _BatchAnswer | None) -> list[Send]:
        if isinstance(item, Invalid):
            self._clients[client].faults += 1
            return self._answer(client, jsonrpc.failure(item.id, item.error), batch)
        refusal = self._refusal(client, item)
        if refusal is not None:
            return [] if item.notification else self._answer(client, jsonrpc.failure(item.id, refusal), batch)
        if item.notification:
            return [Send(None, encode(jsonrpc.request(item.method, item.params)))]
        self._next_id += 1
        line = encode(jsonrpc.request(item.method, item.params, self._next_id))
        if len(line) > MAX_LINE + 1:
            error = NullBoxError(ErrorCode.TOO_LARGE, f"the request is longer than {MAX_LINE} bytes")
            return self._answer(client, jsonrpc.failure(item.id, error), batch)
        self._pending[self._next_id] = _Pending(client, item.id, batch, _cancelled(item))
        self._clients[client].in_flight += 1
        return [Send(None, line)]

    def _refusal(self, client: int, request: Request) -> NullBoxError | None:
        """Why a well-formed request is not passed on, or None."""
        if not self._up:
            return unavailable(self._down_reason)
        if len(self._pending) >= MAX_PENDING:
            return unavailable(f"{MAX_PENDING} requests are under way; try again later")
        if request.method == jsonrpc.STREAM_CANCEL:
            subscription = _cancelled(request)
            if subscription is None or self._owners.get(subscription) != client:
                return NullBoxError(ErrorCode.NOT_FOUND, f"this connection has no subscription {subscription!r}")
        return None

    def _answer(self, client: int, answer: dict[str, Any], batch: _BatchAnswer | None) -> list[Send]:
        """An answer for a client: at once, or with the rest of its batch."""
        if batch is None:
            return [Send(client, encode(answer))]
        batch.answers.append(answer)
        if len(batch.answers) < batch.awaited:
            return []
        return [Send(client, b"[" + b",".join(encode(item)[:-1] for item in batch.answers) + b"]\n")]

    def _cancel(self, subscription: str) -> list[Send]:
        """Cancel a stream that no client has any more."""
        if not self._up:
            return []
        self._next_id += 1
        self._pending[self._next_id] = _Pending(None, None)
        return [
            Send(
                None,
                encode(jsonrpc.request(jsonrpc.STREAM_CANCEL, {"subscription": subscription}, self._next_id)),
            )
        ]

    # --- the machine ----------------------------------------------------------------------------------------

    def machine_up(self) -> list[Send]:
        """Lines can be delivered from now on."""
        self._up = True
        return []

    def machine_down(self, reason: str) -> list[Send]:
        """No answer will come any more to what is under way: all of it fails, and every stream ends."""
        self._up = False
        self._down_reason = reason
        sends = []
        for pending in self._pending.values():
            if pending.client is not None:
                failure = jsonrpc.failure(pending.id, unavailable(reason))
                sends += self._answer(pending.client, failure, pending.batch)
        for subscription, client in self._owners.items():
            sends.append(Send(client, encode(jsonrpc.stream_end(subscription, unavailable(reason)))))
        self._pending.clear()
        self._owners.clear()
        for state in self._clients.values():
            state.in_flight = 0
            state.subscriptions.clear()
        return sends

    def from_machine(self, line: bytes) -> list[Send]:
        """The machine sent a line (without newline). What belongs to nobody is dropped."""
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            return []
        if isinstance(message, list):
            return [send for item in message for send in self._from_machine(item)]
        return self._from_machine(message)

    def _from_machine(self, message: Any) -> list[Send]:
        if not isinstance(message, dict):
            return []
        if message.get("method") == jsonrpc.STREAM:
            return self._stream(message)
        number = message.get("id")
        pending = self._pending.pop(number, None) if isinstance(number, int) else None
        if pending is None or "method" in message:
            return []
        result = message.get("result")
        opened = result.get("subscription") if isinstance(result, dict) else None
        state = self._clients.get(pending.client) if pending.client is not None else None
        if pending.client is None or state is None:
            return self._cancel(opened) if isinstance(opened, str) else []
        state.in_flight -= 1
        if isinstance(opened, str):
            self._owners[opened] = pending.client
            state.subscriptions.add(opened)
        if pending.cancels is not None and "error" not in message:
            self._forget(pending.cancels)
        return self._answer(pending.client, {**message, "id": pending.id}, pending.batch)

    def _stream(self, message: dict[str, Any]) -> list[Send]:
        params = message.get("params")
        subscription = params.get("subscription") if isinstance(params, dict) else None
        client = self._owners.get(subscription) if isinstance(subscription, str) else None
        if client is None or not isinstance(subscription, str) or not isinstance(params, dict):
            return []
        if params.get("end"):
            self._forget(subscription)
        return [Send(client, encode(message))]

    def _forget(self, subscription: str) -> None:
        client = self._owners.pop(subscription, None)
        if client in self._clients:
            self._clients[client].subscriptions.discard(subscription)


def _cancelled(request: Request) -> str | None:
    """The subscription that a `stream.cancel` names."""
    if request.method != jsonrpc.STREAM_CANCEL or not isinstance(request.params, dict):
        return None
    subscription = request.params.get("subscription")
    return subscription if isinstance(subscription, str) else None

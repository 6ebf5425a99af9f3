"""Every message that actors exchange: frozen dataclasses in one registry.

A message is data: plain fields of the types that `codec` knows (None, bool, int, float, str, bytes, Address,
lists, string-keyed mappings of those, and other registered dataclasses). `@message` gives a class its tag on the
wire, which is its name; two classes of one name are a programming error.

Requests carry a `request_id` that the answer (`Reply` or `Failure`) repeats, so that an asker can have many
questions under way and can drop late answers.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeVar, dataclass_transform

REGISTRY: dict[str, type] = {}
"""Tag on the wire → class. Filled by `@message`; read by the codec."""

T = TypeVar("T")


@dataclass_transform(frozen_default=True)
def message(cls: type[T]) -> type[T]:
    """Make `cls` a frozen dataclass and register it under its name.

    Raises:
        TypeError: another class already has this name.
    """
    frozen = dataclass(frozen=True, slots=True)(cls)
    tag = frozen.__name__
    if tag in REGISTRY:
        raise TypeError(f"two messages named {tag}: {REGISTRY[tag]!r} and {frozen!r}")
    REGISTRY[tag] = frozen
    return frozen


@dataclass(frozen=True, slots=True)
class Address:
    """The name of an actor's mailbox: the file name of its socket. Opaque to everyone but the transport."""

    name: str


# --- life cycle: supervisor ↔ child ------------------------------------------------------------------------


@message
class ExitReason:
    """Why an actor ended.

    kind: `normal` (its work is done), `shutdown` (it was asked to), `crash` (unhandled exception),
        `signal` (killed by one), `exit` (the process ended with a status and gave no reason),
        `timeout` (did not become ready or answer heartbeats in time), `failed` (it says that it cannot go on).
    detail: one line for a person.
    code: exit status or signal number, where there is one; for an agent, its own exit code.
    """

    kind: str
    detail: str = ""
    code: int | None = None


@message
class Start:
    """First message to a child: who it is, and all that it needs to know.

    child_id: its name in the tree (`egress`, `cage:pulse`).
    incarnation: 1 for the first process under this id, one more for each that follows.
    config: plain data for this kind of actor.
    peers: the addresses of the children that are ready now.
    """

    child_id: str
    incarnation: int
    config: dict[str, Any]
    peers: dict[str, Address]


@message
class Ready:
    """A child is up. Only now does it count as started."""

    child_id: str
    incarnation: int


@message
class Phase:
    """A child tells the supervisor about itself, for `tree`: a cage says `running` or `paused`."""

    child_id: str
    incarnation: int
    phase: str
    detail: dict[str, Any] = field(default_factory=dict)


@message
class Peers:
    """The addresses of the children that are ready, sent anew after each change."""

    peers: dict[str, Address]


@message
class Stop:
    """Orderly end: release what you hold and exit with `shutdown`."""

    reason: str = ""


@message
class Exiting:
    """A child's last words: its own exit reason, sent just before it ends."""

    child_id: str
    incarnation: int
    reason: ExitReason


@message
class CrashReport:
    """An unhandled exception, with what the actor was doing. The actor exits right after."""

    child_id: str
    incarnation: int
    message_type: str
    error: str
    traceback: str
    last_messages: list[str]


@message
class Ping:
    """Heartbeat. `Pong` repeats the sequence number."""

    seq: int


@message
class Pong:
    seq: int


# --- questions and answers ---------------------------------------------------------------------------------


@message
class Reply:
    """The answer to the request of that id; `value` is plain data."""

    request_id: int
    value: Any = None


@message
class Failure:
    """The request of that id failed. `code` is one of `protocols.errors.ErrorCode`."""

    request_id: int
    code: str
    message: str


@message
class TreeQuery:
    """Ask a supervisor for the state of its tree; the answer is a `Reply` with a list of node mappings."""

    request_id: int


@message
class ChildCommand:
    """Ask a supervisor to `start`, `stop` or `restart` a child, on a user's behalf."""

    request_id: int
    child_id: str
    verb: str


@message
class CageCommand:
    """Ask a cage actor to `pause`, `resume` or `inspect` its VM."""

    request_id: int
    verb: str


@message
class Query:
    """A read-only question to a service by name (`rules`, `stats`); parameters are plain data."""

    request_id: int
    verb: str
    params: dict[str, Any] = field(default_factory=dict)


@message
class PowerCommand:
    """Orderly end of the whole system: `off` or `reboot`. The root passes it to PID 1."""

    request_id: int
    verb: str


# --- cage ↔ egress, cage ↔ ctxgraph ------------------------------------------------------------------------


@message
class OpenLink:
    """A cage asks egress for its network device. Answer: `LinkReady` or `Failure`. Idempotent per agent.

    uid: the user that may attach to the TAP.
    allow, calls_per_hour: the manifest's `network.allow` and `max_api_calls_per_hour`.
    """

    request_id: int
    agent: str
    uid: int = 0
    allow: list[str] = field(default_factory=list)
    calls_per_hour: int = 0


@message
class LinkReady:
    """The TAP exists, is up, and the rules that confine it are loaded.

    addresses are dotted quads; `prefix` is the length of the /30 they share; `mac` is the guest's.
    """

    request_id: int
    agent: str
    tap: str
    mac: str
    guest_address: str
    gateway_address: str
    prefix: int


@message
class CloseLink:
    """The agent's VM is gone: its TAP and its rules can go. No answer."""

    agent: str


@message
class OpenChannel:
    """A cage asks ctxgraph to serve this agent on its own socket. Answer: `ChannelReady` or `Failure`.

    read, write: key prefixes of the manifest; an empty list grants nothing, `[""]` everything.
    uid: the user, and the number of the group, that may connect.
    """

    request_id: int
    agent: str
    read: list[str]
    write: list[str]
    uid: int = 0


@message
class ChannelReady:
    """ctxgraph listens on this path for this agent."""

    request_id: int
    agent: str
    path: str


@message
class CloseChannel:
    """The agent's VM is gone: stop serving it. No answer."""

    agent: str

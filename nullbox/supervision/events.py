"""What can happen to a supervisor, and what it can want done: the two alphabets of `decide`.

Events are facts, actions are wishes; both are plain values. Everything about a child's process carries its
incarnation, everything about a timer its epoch, so that late news can be told from news.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

from nullbox.protocols.errors import ErrorCode
from nullbox.protocols.messages import ExitReason
from nullbox.supervision.spec import ChildSpec

# Named tuples, not frozen dataclasses: they are made several times per event, and cost a third as much.


class TimerKind(StrEnum):
    """What a timer of a child is for. The first four exclude each other; heartbeats run beside them."""

    START = "start"
    SHUTDOWN = "shutdown"
    KILL = "kill"
    BACKOFF = "backoff"
    HEARTBEAT = "heartbeat"


class StopReason(StrEnum):
    """Why a child is asked to stop. A keeper lets what it keeps live on when the reason is `escalation`."""

    USER = "user"
    RESTART = "restart"
    GROUP = "group"
    REMOVED = "removed"
    SHUTDOWN = "shutdown"
    ESCALATION = "escalation"


# --- events ---


class StartSupervisor(NamedTuple):
    """Begin: start the children in order."""


class ChildSpawned(NamedTuple):
    """The process of that incarnation exists. It need not be told; it gives `tree` the pid."""

    child: str
    incarnation: int
    pid: int


class ChildReady(NamedTuple):
    """The child says that it is up."""

    child: str
    incarnation: int


class ChildExited(NamedTuple):
    """The process of that incarnation is gone, or could not be made."""

    child: str
    incarnation: int
    reason: ExitReason


class ChildPhase(NamedTuple):
    """The child says what it is doing; `paused` shows as its state while it runs."""

    child: str
    incarnation: int
    phase: str
    detail: Mapping[str, Any]


class HeartbeatAnswered(NamedTuple):
    child: str
    incarnation: int
    seq: int


class TimerFired(NamedTuple):
    child: str
    kind: TimerKind
    epoch: int


class UserCommand(NamedTuple):
    """`start`, `stop` or `restart`, on a user's behalf; answered under `request`."""

    child: str
    verb: str
    request: int


class AddChild(NamedTuple):
    spec: ChildSpec
    request: int | None = None


class RemoveChild(NamedTuple):
    """Stop it where it runs, then forget it."""

    child: str
    request: int | None = None


class Shutdown(NamedTuple):
    """Stop all children in reverse order, then be done."""


Event: TypeAlias = (
    StartSupervisor
    | ChildSpawned
    | ChildReady
    | ChildExited
    | ChildPhase
    | HeartbeatAnswered
    | TimerFired
    | UserCommand
    | AddChild
    | RemoveChild
    | Shutdown
)

# --- actions ---


class Spawn(NamedTuple):
    """Make the process of that incarnation and send it `Start`. A failure to do so is a `ChildExited`.

    finish: it is a keeper's, made only to end what an earlier one kept; it ends by itself then.
    """

    child: str
    incarnation: int
    finish: bool = False


class SendStop(NamedTuple):
    child: str
    incarnation: int
    reason: StopReason


class Kill(NamedTuple):
    """SIGKILL. The end itself is still news: `ChildExited` follows."""

    child: str
    incarnation: int


class SendPing(NamedTuple):
    child: str
    incarnation: int
    seq: int


class SetTimer(NamedTuple):
    """Bring `TimerFired(child, kind, epoch)` after `delay` seconds. Replaces the child's timer of that kind."""

    child: str
    kind: TimerKind
    epoch: int
    delay: float


class PeersChanged(NamedTuple):
    """A child became ready, or is no longer: those who know it as a peer are to be told."""

    child: str
    ready: bool


class Emit(NamedTuple):
    """Something for the record. kind: `state`, `exit`, `limit`, `killed`, `escalation`, `added`, `removed`."""

    kind: str
    child: str
    detail: Mapping[str, Any]


class Answer(NamedTuple):
    request: int
    value: Mapping[str, Any]


class Refuse(NamedTuple):
    request: int
    code: ErrorCode
    message: str


class Forget(NamedTuple):
    """The child is no longer one; whatever is kept under its name can go."""

    child: str


class Escalate(NamedTuple):
    """All children have ended and this supervisor gives up: its parent decides in turn."""

    reason: str


class Done(NamedTuple):
    """All children have ended as wanted."""

    reason: str


Action: TypeAlias = (
    Spawn | SendStop | Kill | SendPing | SetTimer | PeersChanged | Emit | Answer | Refuse | Forget | Escalate | Done
)

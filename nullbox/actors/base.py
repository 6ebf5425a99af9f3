"""The actor that every actor of NullBox is: typed messages in, crash means crash.

An actor is a class with `on_<message>` methods. One thread runs them, one at a time. An exception that none of
them handles is reported to the parent and ends the process; no handler ever runs twice for one message.
See docs/design/crash-means-crash.md.
"""

from __future__ import annotations

import logging
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

from thespian.actors import Actor

from nullbox.actors import dispatch
from nullbox.actors.process import EXIT_CRASH, EXIT_REASONED
from nullbox.actors.runtime import Runtime, Timer
from nullbox.actors.transport import naming
from nullbox.actors.transport.outbox import Delivery
from nullbox.protocols.codec import CodecError
from nullbox.protocols.messages import (
    REGISTRY,
    Address,
    CrashReport,
    Exiting,
    ExitReason,
    Peers,
    Phase,
    Ping,
    Pong,
    Ready,
    Start,
    Stop,
)

LAST_MESSAGES = 16
"""How many received messages a crash report names."""
MAX_TRACEBACK = 16 * 1024
"""Characters of a traceback that a crash report keeps: the end, which says what went wrong."""
FLUSH_SECONDS = 1.0
"""How long an actor that ends waits for its last words to go out."""

log = logging.getLogger(__name__)


class ActorExit(BaseException):
    """Ends the handler that called `exit`. Only the in-process twin raises it; never catch it."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class BaseActor(Actor):  # type: ignore[misc]  # Thespian has no types
    """Base of all actors. Subclasses add `on_<message>(self, message, sender)` methods and override the hooks."""

    survives_parent: ClassVar[bool] = False
    """Keep running when the parent's process ends. The default is to be killed with it."""

    def __init__(self) -> None:
        super().__init__()
        self.child_id = type(self).__name__
        self.incarnation = 0
        self.config: dict[str, Any] = {}
        self.peers: dict[str, Address] = {}
        self.parent = Address("")
        """Who gets Ready, Phase, Exiting and CrashReport: the sender of Start, and before it the maker."""
        self.unknown_messages: Counter[str] = Counter()
        self.undelivered_messages: Counter[str] = Counter()
        self._runtime: Runtime
        self._bound: dict[type, Callable[[Any, Address], object]] = {}
        self._recent: deque[tuple[float, str, str]] = deque(maxlen=LAST_MESSAGES)
        self._last_words: dict[str, ExitReason] = {}

    # --- hooks -----------------------------------------------------------------------------------------

    @classmethod
    def preload(cls) -> None:
        """Import what an instance needs once there are agents. For whoever forks it, so that it is there at once."""

    def started(self, start: Start) -> None:
        """The actor knows who it is. Bring it up and call `ready()`, here or later. Default: ready at once."""
        self.ready()

    def stopping(self, stop: Stop) -> None:
        """The actor shall end: release what it holds, then `exit`. Default: exit at once."""
        self.exit(ExitReason("shutdown", stop.reason))

    def child_exited(self, address: Address, reason: ExitReason) -> None:
        """A process made by `spawn` has ended. Called exactly once for each.

        `reason` is what the child said last (`Exiting` or `CrashReport`), else what its exit status tells.
        """

    def child_crashed(self, address: Address, report: CrashReport) -> None:
        """A child sent a crash report; `child_exited` follows when its process is gone."""

    def undelivered(self, target: Address, message_type: str, delivery: Delivery, count: int) -> None:
        """`count` messages to `target` will not arrive. Called for every one; the default counts and logs."""
        key = f"{message_type} to {target.name}: {delivery.value}"
        before = self.undelivered_messages[key]
        self.undelivered_messages[key] = now = before + count
        if before.bit_length() != now.bit_length():  # the 1st, 2nd, 4th, 8th …
            log.warning("%s: %d × %s", self.child_id, now, key)

    # --- what an actor can do --------------------------------------------------------------------------

    @property
    def address(self) -> Address:
        """This actor's mailbox."""
        return self._runtime.address

    def tell(self, target: Address, message: Any) -> Delivery:
        """Send a message. Never blocks and never raises for the peer's sake.

        Returns `Delivery.ACCEPTED` (true), or `REFUSED` where the peer's outbox is full, or `UNREACHABLE` where
        there is no such mailbox (both false). What is not accepted, now or when the peer dies before it took the
        message, is reported to `undelivered`.

        Raises:
            CodecError: the message cannot be encoded.
        """
        return self._runtime.tell(target, message)

    def post(self, target: Address, message: Any) -> None:
        """`tell` from any thread.

        Raises:
            BlockingIOError: too many calls of other threads wait for the actor.
        """
        self.call_in_actor(self.tell, target, message)

    def call_in_actor(self, function: Callable[..., object], *arguments: object) -> None:
        """From any thread: run `function(*arguments)` on the actor's, between two messages.

        Raises:
            BlockingIOError: too many calls wait already.
        """
        if not self._runtime.call(self._guarded, f"call of {_name(function)}", function, *arguments):
            raise BlockingIOError(f"{self.child_id} has too many calls of other threads waiting")

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run `callback()` once, in `seconds`, on the actor's thread. The timer can be cancelled."""
        return self._runtime.after(seconds, lambda: self._guarded(f"timer {_name(callback)}", callback))

    def watch(self, fd: int, callback: Callable[[], object]) -> None:
        """Run `callback()` on the actor's thread whenever `fd` is readable, at its end or in error.

        It may run without cause now and then, so read without blocking. `unwatch` before closing `fd`.
        """
        self._runtime.watch(fd, lambda: self._guarded(f"watch of {_name(callback)}", callback))

    def unwatch(self, fd: int) -> None:
        """Harmless where `fd` is not watched."""
        self._runtime.unwatch(fd)

    def spawn(self, actor_class: type[BaseActor], child_id: str) -> Address:
        """Make a child actor in a process of its own. It waits for its `Start`, which can be told at once."""
        return self._runtime.spawn(actor_class, child_id)

    def kill(self, address: Address) -> None:
        """SIGKILL a child's process. Harmless where it has ended, or is no child of this actor."""
        self._runtime.kill(address)

    def pid_of(self, address: Address) -> int:
        """The process behind a mailbox. Beware: the process may be gone, and the number another's.

        Raises:
            ValueError: this is no actor's mailbox.
        """
        pid = naming.owner_pid(address.name, 0)
        if pid is None:
            raise ValueError(f"{address.name!r} is no actor's mailbox")
        return pid

    def ready(self) -> None:
        """Tell the parent that this actor is up."""
        self.tell(self.parent, Ready(self.child_id, self.incarnation))

    def phase(self, name: str, **detail: Any) -> None:
        """Tell the parent about this actor, for `tree`."""
        self.tell(self.parent, Phase(self.child_id, self.incarnation, name, detail))

    def exit(self, reason: ExitReason) -> NoReturn:
        """End: tell the parent why, send what waits, and be gone. To be called on the actor's thread."""
        self._leave(
            Exiting(self.child_id, self.incarnation, reason),
            0 if reason.kind in ("normal", "shutdown") else EXIT_REASONED,
        )

    # --- messages that every actor understands ---------------------------------------------------------

    # Start, Stop and Peers are orders: the parent's. Who sends the first Start becomes the parent.

    def on_start(self, start: Start, sender: Address) -> None:
        if self.incarnation and sender != self.parent:
            self._unknown("Start", sender)
            return
        self.child_id, self.incarnation = start.child_id, start.incarnation
        self.config, self.peers = start.config, start.peers
        self.parent = sender
        self.started(start)

    def on_stop(self, stop: Stop, sender: Address) -> None:
        if sender == self.parent:
            self.stopping(stop)
        else:
            self._unknown("Stop", sender)

    def on_peers(self, message: Peers, sender: Address) -> None:
        if sender == self.parent:
            self.peers = message.peers
        else:
            self._unknown("Peers", sender)

    def on_ping(self, ping: Ping, sender: Address) -> None:
        self.tell(sender, Pong(ping.seq))

    def on_exiting(self, message: Exiting, sender: Address) -> None:
        if self._runtime.is_child(sender):
            self._last_words[sender.name] = message.reason

    def on_crash_report(self, report: CrashReport, sender: Address) -> None:
        if self._runtime.is_child(sender):
            self._last_words[sender.name] = ExitReason("crash", report.error)
            self.child_crashed(sender, report)

    # --- for the runtime -------------------------------------------------------------------------------

    def _attach(self, runtime: Runtime, child_id: str) -> None:
        """Called once, before any message."""
        self._runtime = runtime
        self.child_id = child_id
        self.parent = runtime.parent
        self._bound = {
            message: getattr(self, name) for message, name in dispatch.handlers_of(type(self), REGISTRY).items()
        }

    def receiveMessage(self, message: Any, sender: Any) -> None:
        """Thespian's entry point. Its own messages mean nothing to these actors."""

    def _receive(self, message: Any, sender: Address) -> None:
        kind = type(message)
        self._recent.append((time.monotonic(), kind.__name__, sender.name))
        handler = self._bound.get(kind)
        if handler is None:
            self._unknown(kind.__name__, sender)
            return
        try:
            handler(message, sender)
        except ActorExit:
            raise
        except BaseException as error:
            self._crash(kind.__name__, error)

    def _unknown(self, tag: str, sender: Address) -> None:
        self.unknown_messages[tag] += 1
        count = self.unknown_messages[tag]
        if count & (count - 1) == 0:  # the 1st, 2nd, 4th, 8th …
            log.warning("%s does not take %s from %s (%d so far)", self.child_id, tag, sender.name, count)

    def _child_ended(self, address: Address, by_status: ExitReason) -> None:
        reason = self._last_words.pop(address.name, by_status)
        self._guarded("end of a child", self.child_exited, address, reason)

    def _guarded(self, doing: str, function: Callable[..., object], *arguments: object) -> None:
        """Run a piece of the actor. An exception ends the actor; there is no second try."""
        try:
            function(*arguments)
        except ActorExit:
            raise
        except BaseException as error:
            self._crash(doing, error)

    def _crash(self, doing: str, error: BaseException) -> NoReturn:
        now = time.monotonic()
        recent = [f"{(now - at) * 1000:.0f} ms before: {tag} from {who}" for at, tag, who in self._recent]
        text = _encodable("".join(traceback.format_exception(error)))[-MAX_TRACEBACK:]
        log.error("%s crashed while handling %s:\n%s", self.child_id, doing, text)
        summary = _encodable(f"{type(error).__name__}: {error}")[:1024]
        self._leave(CrashReport(self.child_id, self.incarnation, doing, summary, text, recent), EXIT_CRASH)

    def _leave(self, last_words: Exiting | CrashReport, status: int) -> NoReturn:
        try:
            self._runtime.tell(self.parent, last_words)
            self._runtime.flush(FLUSH_SECONDS)
        except CodecError:  # a subclass put something strange into its reason: the exit status has to do
            log.exception("%s cannot say why it ends", self.child_id)
        self._runtime.end(status)


def _encodable(text: str) -> str:
    """The text of an exception may hold what UTF-8 cannot, from a file's name say."""
    return text.encode("utf-8", "backslashreplace").decode()


def _name(function: Callable[..., object]) -> str:
    return getattr(function, "__qualname__", repr(function))

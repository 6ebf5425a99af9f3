"""The actor around `decide`: turns messages and notices into events, and actions into effects.

Effects live here (processes, timers, messages); judgement does not. Whatever happens while actions are being
performed waits in a queue, so that `decide` sees one event at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from nullbox.actors.base import BaseActor
from nullbox.actors.runtime import Timer
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import (
    Address,
    ChildCommand,
    CrashReport,
    ExitReason,
    Failure,
    Peers,
    Phase,
    Ping,
    Pong,
    Query,
    Ready,
    Reply,
    Start,
    Stop,
    TreeQuery,
)
from nullbox.supervision import events as ev
from nullbox.supervision import snapshot
from nullbox.supervision.decide import decide
from nullbox.supervision.gather import PATIENCE, Gathering
from nullbox.supervision.handles import Handles
from nullbox.supervision.record import EventLog
from nullbox.supervision.spec import ChildType
from nullbox.supervision.state import ChildState, State
from nullbox.supervision.tree import preload, resolve, state_from_config

LOUD = frozenset({"killed", "limit", "escalation", "refused"})
"""Kinds of events that are also written to the log."""

WARM_AFTER = 10.0
"""Seconds after the start at which the code of replacements is loaded: a machine that starts has other things to do."""

log = logging.getLogger("nullbox.supervision")


class Supervisor(BaseActor):
    """Keeps children alive as its state says.

    config: see `tree.state_from_config`; and `path`, its parent's in the tree. Subclasses may override `make_state`.
    """

    _begun = False

    def started(self, start: Start) -> None:
        if self._begun:
            return  # a second Start changes nothing
        self._begun = True
        self._queue: deque[ev.Event] = deque()
        self._busy = False
        self._announced = False
        self._handles = Handles()
        self._gatherings: dict[int, Gathering] = {}
        self._timers: dict[tuple[str, ev.TimerKind], Timer] = {}
        self._requests: dict[int, tuple[Address, int]] = {}
        self._last_request = 0
        self._since = self.now()
        self.record = EventLog()
        self.path = "/".join(part for part in (str(start.config.get("path", "")), start.child_id) if part)
        self.state = self.make_state(start)
        self.apply(ev.StartSupervisor())

    def make_state(self, start: Start) -> State:
        """The state to begin with. Raises NullBoxError when the specs are wrong."""
        return state_from_config(start.child_id, start.config, seed=os.getpid())

    def now(self) -> float:
        return time.monotonic()

    # --- the loop

    def apply(self, event: ev.Event) -> None:
        """Decide what follows from the event, and do it; then the same for what came up meanwhile."""
        self._queue.append(event)
        if self._busy:
            return
        self._busy = True
        try:
            while self._queue:
                _, actions = decide(self.state, self._queue.popleft(), self.now())
                for action in actions:
                    PERFORMERS[type(action)](self, action)
        finally:
            self._busy = False
        if not self._announced and self._has_started():
            self._announced = True
            self.after(WARM_AFTER, self._warm)
            self.ready()

    def _warm(self) -> None:
        """Import here, once, what every replacement of a child would else import anew."""
        with contextlib.suppress(Exception):  # an error of their code is the children's, when they start
            preload(child.spec for child in self.state.children.values())

    def _has_started(self) -> bool:
        """As in OTP, a supervisor counts as started once its children do."""
        return not any(child.state is ChildState.STARTING for child in self.state.children.values())

    # --- effects

    def _spawn(self, action: ev.Spawn) -> None:
        spec = self.state.children[action.child].spec
        try:
            address = self.spawn(resolve(spec.start), action.child)
        except Exception as error:  # whatever keeps a child from being made is that child's failure, not ours
            self._kill_strays()
            reason = ExitReason("failed", f"cannot start {spec.start}: {type(error).__name__}: {error}")
            self._queue.append(ev.ChildExited(action.child, action.incarnation, reason))
            return
        self._handles.add(action.child, action.incarnation, address)
        config = {**spec.config, "path": self.path, **({"finish": True} if action.finish else {})}
        self.tell(address, Start(action.child, action.incarnation, config, self._peers_of(action.child)))
        self._queue.append(ev.ChildSpawned(action.child, action.incarnation, self.pid_of(address)))

    def _kill_strays(self) -> None:
        """A start that failed late may have made a process that nobody knows."""
        for address in self._runtime.children():
            if self._handles.who(address) is None:
                self.kill(address)

    def _send_stop(self, action: ev.SendStop) -> None:
        address = self._handles.get(action.child, action.incarnation)
        if address is not None:
            self.tell(address, Stop(action.reason.value))

    def _kill(self, action: ev.Kill) -> None:
        address = self._handles.get(action.child, action.incarnation)
        if address is not None:
            self.kill(address)

    def _send_ping(self, action: ev.SendPing) -> None:
        address = self._handles.get(action.child, action.incarnation)
        if address is not None:
            self.tell(address, Ping(action.seq))

    def _set_timer(self, action: ev.SetTimer) -> None:
        key = (action.child, action.kind)
        old = self._timers.pop(key, None)
        if old is not None:
            old.cancel()
        fired = ev.TimerFired(action.child, action.kind, action.epoch)
        self._timers[key] = self.after(action.delay, lambda: self.apply(fired))

    def _peers_changed(self, action: ev.PeersChanged) -> None:
        for name in self._handles.those_who_know(self.state, action.child):
            self.tell(self._handles.addresses[name], Peers(self._peers_of(name)))

    def _peers_of(self, child: str) -> dict[str, Address]:
        return {**self._handles.peers_of(self.state, child), self.child_id: self.address}

    def _emit(self, action: ev.Emit) -> None:
        self.note(action.kind, action.child, action.detail)

    def note(self, kind: str, child: str, detail: Mapping[str, Any]) -> None:
        """Put something on record."""
        path = f"{self.path}/{child}" if child else self.path
        self.record.add(time.time(), kind, path, child, detail)
        if kind in LOUD or (kind == "exit" and detail.get("intent") is None):
            log.warning("%s %s: %s", path, kind, dict(detail))

    def _answer(self, action: ev.Answer) -> None:
        sender, request_id = self._requests.pop(action.request)
        self.tell(sender, Reply(request_id, dict(action.value)))

    def _refuse(self, action: ev.Refuse) -> None:
        sender, request_id = self._requests.pop(action.request)
        self.tell(sender, Failure(request_id, action.code.value, action.message))

    def _forget(self, action: ev.Forget) -> None:
        for key in [key for key in self._timers if key[0] == action.child]:
            self._timers.pop(key).cancel()

    def _escalate(self, action: ev.Escalate) -> None:
        self.exit(ExitReason("failed", action.reason))

    def _done(self, action: ev.Done) -> None:
        self.exit(ExitReason("shutdown", action.reason))

    # --- notices and messages

    def child_exited(self, address: Address, reason: ExitReason) -> None:
        known = self._handles.drop(address)
        if known is not None:
            self.apply(ev.ChildExited(*known, reason))

    def on_ready(self, message: Ready, sender: Address) -> None:
        known = self._handles.who(sender)
        if known is not None:
            self.apply(ev.ChildReady(*known))

    def on_phase(self, message: Phase, sender: Address) -> None:
        known = self._handles.who(sender)
        if known is not None:
            self.apply(ev.ChildPhase(*known, message.phase, dict(message.detail)))

    def on_pong(self, message: Pong, sender: Address) -> None:
        known = self._handles.who(sender)
        if known is not None:
            self.apply(ev.HeartbeatAnswered(*known, message.seq))

    def child_crashed(self, address: Address, report: CrashReport) -> None:
        child, incarnation = self._handles.who(address) or (report.child_id, report.incarnation)
        self.note(
            "crash",
            child,
            {
                "incarnation": incarnation,
                "message_type": report.message_type,
                "error": report.error,
                "traceback": report.traceback,
                "last_messages": list(report.last_messages),
            },
        )

    def stopping(self, stop: Stop) -> None:
        if self._begun:
            self.apply(ev.Shutdown())
        else:  # stopped before it was started
            self.exit(ExitReason("shutdown", stop.reason))

    def on_tree_query(self, message: TreeQuery, sender: Address) -> None:
        nodes = snapshot.tree(self.state, self.now(), pid=os.getpid(), incarnation=self.incarnation, since=self._since)
        below = {
            self._handles.addresses[name]: name
            for name, child in self.state.children.items()
            if child.spec.type is ChildType.SUPERVISOR and name in self._handles.addresses
        }
        self._last_request += 1
        question = self._last_request
        self._gatherings[question] = Gathering(sender, message.request_id, nodes, below)
        if below:
            for address in below:
                self.tell(address, TreeQuery(question))
            self.after(PATIENCE, lambda: self._gathered(question))
        else:
            self._gathered(question)

    def on_reply(self, message: Reply, sender: Address) -> None:
        gathering = self._gatherings.get(message.request_id)
        if gathering is not None and gathering.take(sender, message.value):
            self._gathered(message.request_id)

    def _gathered(self, question: int) -> None:
        gathering = self._gatherings.pop(question, None)
        if gathering is not None:
            self.tell(gathering.asker, Reply(gathering.request_id, gathering.result()))

    def on_child_command(self, message: ChildCommand, sender: Address) -> None:
        if message.verb == "remove":
            self.apply(ev.RemoveChild(message.child_id, self._request(sender, message.request_id)))
        else:
            request = self._request(sender, message.request_id)
            self.apply(ev.UserCommand(message.child_id, message.verb, request))

    def on_query(self, message: Query, sender: Address) -> None:
        """`events` (params since, limit) and `health`."""
        try:
            value = self.query(message.verb, message.params)
        except NullBoxError as error:
            self.tell(sender, Failure(message.request_id, error.code.value, error.message))
        else:
            self.tell(sender, Reply(message.request_id, value))

    def query(self, verb: str, params: Mapping[str, Any]) -> Any:
        """The answer to a question. Raises NullBoxError for one that is not known or not well put."""
        if verb == "health":
            return {"healthy": snapshot.healthy(self.state), "phase": self.state.phase.value}
        if verb == "events":
            return self.record.query(params)
        raise NullBoxError(ErrorCode.INVALID, f"{verb!r} is not known here; allowed: events, health")

    def _request(self, sender: Address, request_id: int) -> int:
        self._last_request += 1
        self._requests[self._last_request] = (sender, request_id)
        return self._last_request


PERFORMERS: Mapping[type[Any], Callable[[Supervisor, Any], None]] = MappingProxyType(
    {
        ev.Spawn: Supervisor._spawn,
        ev.SendStop: Supervisor._send_stop,
        ev.Kill: Supervisor._kill,
        ev.SendPing: Supervisor._send_ping,
        ev.SetTimer: Supervisor._set_timer,
        ev.PeersChanged: Supervisor._peers_changed,
        ev.Emit: Supervisor._emit,
        ev.Answer: Supervisor._answer,
        ev.Refuse: Supervisor._refuse,
        ev.Forget: Supervisor._forget,
        ev.Escalate: Supervisor._escalate,
        ev.Done: Supervisor._done,
    }
)

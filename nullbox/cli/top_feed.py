"""Keeps the model of `nullctl top` fresh, in a thread of its own, so that keys answer while the daemon thinks.

Effects: asks the daemon.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections import Counter
from dataclasses import replace

from nullbox.cli.top_screen import AGENT, Command, Model, with_sample
from nullbox.client import Nulld
from nullbox.protocols.errors import NullBoxError

PERIOD = 1.0
EVENTS = 200
LOG_LINES = 200


class Feed:
    """`view` says what is looked at; `latest` is the data for it."""

    def __init__(self, socket: str) -> None:
        self._nulld = Nulld(socket, timeout=20.0)
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._model = Model()
        self._logs_of = ""
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._since = 0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._commands.put(None)

    def command(self, command: Command) -> None:
        """Have it done; its outcome becomes the model's message."""
        with self._lock:
            self._model = replace(self._model, message=f"{command.verb} {command.agent} ...")
        self._commands.put(command)

    def look_at_logs(self, agent: str) -> None:
        """Whose log to fetch; empty for none."""
        self._logs_of = agent

    def latest(self) -> Model:
        with self._lock:
            return self._model

    def _run(self) -> None:
        while True:
            self._refresh()
            with contextlib.suppress(queue.Empty):
                command = self._commands.get(timeout=PERIOD)
                if command is None:
                    self._nulld.close()
                    return
                self._perform(command)

    def _perform(self, command: Command) -> None:
        try:
            answer = self._nulld.call(f"agent.{command.verb}", name=command.agent)
            message = f"{command.agent}: {answer['state']}"
        except NullBoxError as error:
            message = error.message.splitlines()[0]
        with self._lock:
            self._model = replace(self._model, message=message)

    def _refresh(self) -> None:
        model = self.latest()
        try:
            model = replace(model, status=self._nulld.status(), tree=self._nulld.tree(), problem="")
            model = self._agents(model)
            model = self._events(model)
            if self._logs_of:
                lines = [line["text"] for line in self._nulld.agent_logs(self._logs_of, LOG_LINES)]
                model = replace(model, logs_of=self._logs_of, logs=lines)
        except NullBoxError as error:
            model = replace(model, problem=error.message.splitlines()[0])
        with self._lock:
            self._model = replace(model, message=self._model.message)

    def _agents(self, model: Model) -> Model:
        for node in model.tree:
            if not node["id"].startswith(AGENT):
                continue
            name = node["id"].removeprefix(AGENT)
            stats = None
            if node["state"] in ("running", "paused"):
                with contextlib.suppress(NullBoxError):
                    stats = self._nulld.agent_stats(name)["stats"]
            model = with_sample(model, name, time.monotonic(), stats)
        denials: Counter[str] = Counter()
        with contextlib.suppress(NullBoxError):
            for denial in self._nulld.egress_log():
                denials[denial["agent"]] += denial["count"]
        return replace(model, denials=denials)

    def _events(self, model: Model) -> Model:
        page = self._nulld.events(self._since, EVENTS)
        if not page["events"]:
            return model
        self._since = page["events"][-1]["seq"]
        return replace(model, events=[*model.events, *page["events"]][-EVENTS:])

"""What a supervisor knows about a child before it starts: the child spec, every field checked.

The vocabulary is OTP's (`supervisor:child_spec()`), with what a system of microVMs needs beside it: declared
dependencies, backoff, a start timeout, heartbeats, and what happens at the restart limit. All durations are
seconds. A spec is plain data; nothing here starts anything.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.supervision.backoff import Backoff

ID_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,31}(:[a-z][a-z0-9-]{0,31})?")
START_PATTERN = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+")
ALL_PEERS = "*"


class Restart(StrEnum):
    """When an ended child is started again (OTP's words)."""

    PERMANENT = "permanent"  # always
    TRANSIENT = "transient"  # when it ended abnormally
    TEMPORARY = "temporary"  # never


RESTART_WORDS: Mapping[str, Restart] = MappingProxyType(
    {
        "permanent": Restart.PERMANENT,
        "transient": Restart.TRANSIENT,
        "temporary": Restart.TEMPORARY,
        "always": Restart.PERMANENT,
        "on-failure": Restart.TRANSIENT,
        "never": Restart.TEMPORARY,
    }
)
"""OTP's words, and the words of configuration files and manifests, for the same three policies."""


class ChildType(StrEnum):
    WORKER = "worker"
    SUPERVISOR = "supervisor"


class OnLimit(StrEnum):
    """What more than `max_restarts` in `period` means for a child.

    escalate: it counts in its supervisor's own window, and the supervisor gives up (OTP).
    fail: it counts in a window of its own and only this child goes to `failed`, so that no hostile child can
        take its supervisor and siblings with it.
    """

    ESCALATE = "escalate"
    FAIL = "fail"


class Strategy(StrEnum):
    """Which children an ended child takes along (OTP's words)."""

    ONE_FOR_ONE = "one_for_one"
    ONE_FOR_ALL = "one_for_all"
    REST_FOR_ONE = "rest_for_one"
    DYNAMIC = "dynamic"  # one_for_one over children added at run time, which are forgotten once they are done


class AutoShutdown(StrEnum):
    """Whether a supervisor ends by itself when its significant children have (OTP 24)."""

    NEVER = "never"
    ANY_SIGNIFICANT = "any_significant"
    ALL_SIGNIFICANT = "all_significant"


BRUTAL = 0.0
INFINITY = math.inf


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A child is pinged every `interval` seconds and killed when no answer came for `timeout` seconds.

    throughout: also while it starts and stops; for children that never block for long, not even then.
    """

    interval: float = 5.0
    timeout: float = 15.0
    throughout: bool = False

    def problems(self) -> list[tuple[str, str]]:
        """Every wrong field with what was found and what would be right."""
        found = []
        if not _positive(self.interval):
            found.append(("interval", f"is {self.interval!r}; allowed: seconds above 0"))
        elif not _positive(self.timeout) or self.timeout < self.interval:
            found.append(("timeout", f"is {self.timeout!r}; allowed: at least the interval, {self.interval:g} s"))
        if not isinstance(self.throughout, bool):
            found.append(("throughout", f"is {self.throughout!r}; allowed: true or false"))
        return found


@dataclass(frozen=True, slots=True)
class ChildSpec:
    """One child of a supervisor.

    id: its name among its siblings (`egress`, `cage:pulse`).
    start: dotted name of the actor class (`nullbox.actors.egress.EgressActor`).
    config: plain data handed to the child in `Start`.
    restart: when it is started again after it ended.
    shutdown: seconds between the request to stop and SIGKILL; `BRUTAL` (0) kills at once, `INFINITY` waits.
    type: `supervisor` for a child that has children of its own.
    significant: its end may end the supervisor (see `AutoShutdown`); never for a permanent child.
    depends_on: siblings that must be ready before this child is started.
    backoff: how long each restart waits.
    start_timeout: seconds from the process's start to its `Ready`; then it is killed and counts as crashed.
    heartbeat: None for a child that is not watched.
    on_limit: what its restart limit does.
    autostart: whether it starts with its supervisor, or waits for a user.
    keeper: the actor keeps something that outlives it (a VM). Then an end that the child itself did not
        announce (a signal, an unhandled exception, a missed heartbeat) is made good whatever `restart` says,
        since it is the end of the keeper and not of what is kept; and one that dies over a stop is made again, to
        finish that.
    takes_turns: its start is work for the whole machine, so only so many of its kind start at once (`State.turns`).
    peers: the siblings whose addresses the child is given while they are ready: names, or `("*",)` for all.
        Its dependencies are always among them.
    """

    id: str
    start: str
    config: Mapping[str, Any] = field(default_factory=dict)
    restart: Restart = Restart.PERMANENT
    shutdown: float = 5.0
    type: ChildType = ChildType.WORKER
    significant: bool = False
    depends_on: tuple[str, ...] = ()
    backoff: Backoff = field(default_factory=Backoff)
    start_timeout: float = 30.0
    heartbeat: Heartbeat | None = field(default_factory=Heartbeat)
    on_limit: OnLimit = OnLimit.ESCALATE
    autostart: bool = True
    keeper: bool = False
    takes_turns: bool = False
    peers: tuple[str, ...] = ()

    def problems(self) -> list[tuple[str, str]]:
        """Every wrong field as (field, what was found and what is allowed); empty when the spec is sound."""
        found: list[tuple[str, str]] = []

        def wrong(name: str, allowed: str) -> None:
            found.append((name, f"is {getattr(self, name)!r}; allowed: {allowed}"))

        if not isinstance(self.id, str) or not ID_PATTERN.fullmatch(self.id):
            wrong("id", "lower-case letters, digits and dashes, optionally after a kind and a colon (cage:pulse)")
        if not isinstance(self.start, str) or not START_PATTERN.fullmatch(self.start):
            wrong("start", "the dotted name of an actor class (package.module.Class)")
        if not isinstance(self.config, Mapping):
            wrong("config", "a mapping")
        for name, words in (("restart", Restart), ("type", ChildType), ("on_limit", OnLimit)):
            if not isinstance(getattr(self, name), words):
                wrong(name, ", ".join(word.value for word in words))
        if not _number(self.shutdown) or self.shutdown < 0:
            wrong("shutdown", "seconds from 0 (brutal) to infinity")
        if not _number(self.start_timeout) or self.start_timeout <= 0:
            wrong("start_timeout", "seconds above 0")
        for name in ("significant", "autostart", "keeper", "takes_turns"):
            if not isinstance(getattr(self, name), bool):
                wrong(name, "true or false")
        if self.significant is True and self.restart is Restart.PERMANENT:
            found.append(("significant", "is True for a permanent child, which never ends for good; allowed: false"))
        for name in ("depends_on", "peers"):
            value = getattr(self, name)
            if not isinstance(value, tuple) or not all(isinstance(other, str) for other in value):
                wrong(name, "a tuple of ids")
            elif len(set(value)) != len(value):
                wrong(name, "every id once")
        if isinstance(self.depends_on, tuple) and self.id in self.depends_on:
            wrong("depends_on", "siblings, not the child itself")
        for name, kind in (("backoff", Backoff), ("heartbeat", Heartbeat)):
            value = getattr(self, name)
            if isinstance(value, kind):
                found += [(f"{name}.{inner}", text) for inner, text in value.problems()]
            elif not (name == "heartbeat" and value is None):
                wrong(name, f"a {kind.__name__}")
        return found


def check_specs(specs: list[ChildSpec], auto_shutdown: AutoShutdown = AutoShutdown.NEVER) -> None:
    """Refuse a list of children that could not be supervised, before any of them starts.

    Raises:
        NullBoxError: `invalid`; the message has one line for every problem, each as `child.field`.
    """
    lines: list[str] = []
    known: set[str] = set()
    for spec in specs:
        lines += [f"{spec.id}.{name} {text}" for name, text in spec.problems()]
        if spec.id in known:
            lines.append(f"{spec.id}.id is used by two children; allowed: a name of its own for each")
        known.add(spec.id)
        if spec.significant is True and auto_shutdown is AutoShutdown.NEVER:
            lines.append(f"{spec.id}.significant is True under auto_shutdown never; allowed: false")
    for spec in specs:
        for other in spec.depends_on if isinstance(spec.depends_on, tuple) else ():
            if other not in known:
                names = ", ".join(sorted(known - {spec.id})) or "none"
                lines.append(f"{spec.id}.depends_on names {other!r}, which does not exist; there are: {names}")
    if lines:
        raise NullBoxError(ErrorCode.INVALID, "\n".join(lines))


def parse_restart(word: object) -> Restart:
    """`always` or `permanent` and so on → `Restart`.

    Raises:
        ValueError: another word.
    """
    if not isinstance(word, str) or word not in RESTART_WORDS:
        raise ValueError(f"is {word!r}; allowed: always, on-failure, never")
    return RESTART_WORDS[word]


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)


def _positive(value: object) -> bool:
    return _number(value) and 0 < value < math.inf  # type: ignore[operator]

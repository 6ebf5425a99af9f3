"""Which addresses an agent's grants stand for at the moment: what DNS answers put into the kernel's map `grants`. Pure.

An element of the map is (TAP, address, protocol, port) → mark, and lives a while. Two names may share an address; the
element then carries the mark of one of the grants, and another takes over when the first is revoked. So an address is
open exactly as long as some grant's answer for it is fresh.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import ceil, inf
from typing import Any

from nullbox.egress import expr as e
from nullbox.egress.expr import Command
from nullbox.egress.ruleset import element

GRACE_S = 30.0
"""An element outlives the TTL that the agent was told by this much: time to act on an answer that was just fresh."""

LAG_S = 2.0
"""How much longer than the answer an element may be in the kernel: its time to live is whole seconds, rounded up."""

SWEEP_S = 1.0
"""How often, at most, an agent's destinations are looked through for old ones."""

TOLERANCE_S = 0.5
"""A refresh by less than this is not worth a transaction; the grace covers it."""

MAX_PINS = 4096
"""Elements of one agent. Past this, answers are withheld until some expire."""


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """One opened destination of one agent. Port 0: every port, for an agent that is learning."""

    address: str
    port: int


@dataclass(slots=True)
class Pins:
    """The destinations of one TAP, as the kernel has them. Time is any monotonic clock in seconds, always passed in.

    current: pin → mark in the kernel's element.
    expiry: pin → mark → when the answer behind it ends.
    ends: pin → when the kernel lets its element go, at the latest; not before any of its answers ends.
    """

    tap: str
    current: dict[Pin, int] = field(default_factory=dict)
    expiry: dict[Pin, dict[int, float]] = field(default_factory=dict)
    ends: dict[Pin, float] = field(default_factory=dict)
    swept: float = -inf

    def grant(
        self, marks: Iterable[tuple[int, int]], addresses: Iterable[str], ttl: float, now: float
    ) -> list[Command]:
        """Open `addresses` on every (port, mark) for `ttl` seconds and the grace.

        Returns:
            The commands that make it so, empty if the kernel's elements live long enough already.

        Raises:
            OverflowError: the agent has too many destinations open; nothing was changed.
        """
        self.expire(now)
        wanted = [(Pin(address, port), mark) for address in addresses for port, mark in marks]
        if len(self.expiry) + len({pin for pin, _ in wanted if pin not in self.expiry}) > MAX_PINS:
            raise OverflowError(f"more than {MAX_PINS} destinations are open")
        until = now + ttl + GRACE_S
        commands = []
        for pin, mark in wanted:
            answers = self.expiry.setdefault(pin, {})
            had = self.ends.get(pin, now)
            answers[mark] = max(until, answers.get(mark, until))
            if until > had + TOLERANCE_S:
                commands += self._put(pin, self.current.get(pin, mark), until, now)
        return commands

    def revoke(self, marks: Iterable[int], now: float) -> list[Command]:
        """Close what only these marks keep open; hand the rest over to a mark that stays."""
        self.expire(now)
        gone = set(marks)
        commands = []
        for pin in sorted(self.expiry):
            answers = self.expiry[pin]
            for mark in gone & answers.keys():
                del answers[mark]
            heir = max(answers, key=lambda mark: answers[mark], default=None)
            if heir is None or (self.current[pin] in gone and answers[heir] <= now):
                answers.clear()
                commands += self._drop(pin)
            elif self.current[pin] in gone:
                commands += self._put(pin, heir, answers[heir], now)
        return commands

    def names_of(self, address: str, port: int, now: float) -> list[int]:
        """The marks whose fresh answers hold this destination."""
        answers = self.expiry.get(Pin(address, port), {})
        return sorted(mark for mark, until in answers.items() if until > now)

    def expire(self, now: float) -> None:
        """Forget what the kernel has let go of by itself; later than the kernel, never earlier."""
        if not self.swept <= now < self.swept + SWEEP_S:
            self.swept = now
            self._sweep(now)

    def _sweep(self, now: float) -> None:
        for pin in [pin for pin, end in self.ends.items() if end + LAG_S <= now]:
            del self.expiry[pin], self.current[pin], self.ends[pin]

    def _item(self, pin: Pin, mark: int, seconds: float) -> list[Any]:
        key = e.concat(self.tap, pin.address, *(("tcp", pin.port) if pin.port else ()))
        return [{"elem": {"val": key, "timeout": max(1, ceil(seconds))}}, mark]

    def _put(self, pin: Pin, mark: int, until: float, now: float) -> list[Command]:
        """Give an element a mark and a new time to live, whether it is there, expired or absent.

        Older kernels keep the old timeout when an element is added again, so it is deleted and added in one
        transaction; and it is added before it is deleted, since deleting what has just expired is an error.
        """
        commands = self._drop(pin) if pin in self.current else []
        self.current[pin], self.ends[pin] = mark, max(until, now + 1)
        return [*commands, element("add", _map_of(pin), [self._item(pin, mark, until - now)])]

    def _drop(self, pin: Pin) -> list[Command]:
        item = self._item(pin, self.current.pop(pin), 1)
        del self.ends[pin]
        if not self.expiry[pin]:
            del self.expiry[pin]
        return [element("add", _map_of(pin), [item]), element("delete", _map_of(pin), [item])]


def _map_of(pin: Pin) -> str:
    return "grants" if pin.port else "learners"


def read_pins(elements: Iterable[Any], now: float) -> dict[str, Pins]:
    """TAP → its pins, from the kernel's listings of `grants` and `learners`, for a restarted egress."""
    found: dict[str, Pins] = {}
    for item, mark in elements:
        body: Mapping[str, Any] = item["elem"]
        tap, address, *rest = body["val"]["concat"]
        pins = found.setdefault(tap, Pins(tap))
        pin = Pin(address, int(rest[1]) if rest else 0)
        pins.current[pin] = int(mark)
        pins.ends[pin] = now + float(body.get("expires", 0))
        pins.expiry[pin] = {int(mark): pins.ends[pin]}
    return found

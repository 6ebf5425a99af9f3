"""What is open for each agent at the moment, beside the kernel that has it: the pins, and what a learner's stand for.

No lock and no effect in here: the service holds its lock, and hands the commands to the kernel.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from nullbox.egress.expr import Command
from nullbox.egress.links import LEARNING, Link, marks_for
from nullbox.egress.pins import Pins, read_pins
from nullbox.protocols.errors import ErrorCode, NullBoxError


class Destinations:
    """Every TAP's. Time is monotonic seconds, always passed in."""

    def __init__(self) -> None:
        self._pins: dict[str, Pins] = {}
        self._names: dict[str, dict[str, set[str]]] = {}
        self._used: dict[tuple[Any, ...], Any] = {}

    def read(self, elements: Iterable[Any], now: float) -> None:
        """Believe the kernel: `elements` are its listings of `grants` and `learners`."""
        self._pins = read_pins(elements, now)

    def grant(self, link: Link, name: str, addresses: Sequence[str], seconds: float, now: float) -> list[Command]:
        """Open `addresses` for the grants of `link` that cover `name`.

        Raises:
            NullBoxError: `denied`, no grant covers the name, or too much is open.
        """
        marks = marks_for(link, name)
        if not marks:
            raise no_grant(link.agent, name)
        try:
            commands = self._of(link).grant(marks, addresses, seconds, now)
        except OverflowError as error:
            raise NullBoxError(ErrorCode.DENIED, f"agent {link.agent}: {error}") from error
        if LEARNING in link.marks:
            for address in addresses:
                self._names.setdefault(link.slot.tap, {}).setdefault(address, set()).add(name)
        return commands

    def revoke(self, link: Link, marks: Collection[int], now: float) -> list[Command]:
        """Close what only these marks keep open."""
        return self._of(link).revoke(marks, now)

    def forget(self, link: Link) -> None:
        """The link is gone."""
        self._pins.pop(link.slot.tap, None)
        self._names.pop(link.slot.tap, None)
        self._used = {key: item for key, item in self._used.items() if key[0] != link.slot.tap}

    def open_for(self, link: Link, address: str, port: int, now: float) -> list[str]:
        """The grants (as text) whose fresh answers hold this destination."""
        pins = self._of(link)
        marks = {*pins.names_of(address, port, now), *pins.names_of(address, 0, now)}
        return sorted(text for text, mark in link.marks.items() if mark in marks)

    def names_of(self, link: Link) -> Mapping[str, set[str]]:
        """Address → the names that it was an answer for, since this agent began to learn."""
        return {address: set(names) for address, names in self._names.get(link.slot.tap, {}).items()}

    def used(self, learned: Iterable[Any]) -> None:
        """Note what learners reached, from the kernel's listing of `learned`, which forgets after a while."""
        self._used |= {tuple(item["elem"]["val"]["concat"]): item for item in learned}

    def use_of(self, link: Link) -> list[Any]:
        """What the learner reached since it got its link, as the kernel listed it."""
        return [item for (tap, *_), item in self._used.items() if tap == link.slot.tap]

    def _of(self, link: Link) -> Pins:
        return self._pins.setdefault(link.slot.tap, Pins(link.slot.tap))


def no_grant(agent: str, name: str) -> NullBoxError:
    """What a name gets that no grant covers (any more)."""
    return NullBoxError(ErrorCode.DENIED, f"no grant of {agent} covers {name}")

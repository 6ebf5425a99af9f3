"""In-memory twins of the edges: a firewall and a set of TAPs that keep what they were told. For tests and dry runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from nullbox.egress.dns.resolver import AgentResolver
from nullbox.egress.expr import Command
from nullbox.egress.nft import guard
from nullbox.egress.policy import Grant
from nullbox.egress.slots import Slot
from nullbox.egress.tap import TapState
from nullbox.protocols.errors import ErrorCode, NullBoxError


class MemoryFirewall:
    """Keeps sets and their elements as the kernel would; rules are kept but not executed.

    `fail_next`: the next transaction is refused as a whole, as by the kernel.
    `on_apply`: called with each transaction that was accepted, so that a test can see the order of effects.
    """

    def __init__(self) -> None:
        self.transactions: list[list[Command]] = []
        self.sets: dict[tuple[str, str], dict[str, Any]] = {}
        self.declared: dict[tuple[str, str, str], dict[str, Any]] = {}
        self.fail_next = False
        self.on_apply: Callable[[list[Command]], None] = lambda commands: None

    def apply(self, commands: Sequence[Command]) -> None:
        if not commands:
            return
        guard(commands)
        if self.fail_next:
            self.fail_next = False
            raise NullBoxError(ErrorCode.INTERNAL, "the kernel refused a firewall transaction: asked to by the test")
        sets = {key: dict(members) for key, members in self.sets.items()}
        declared = dict(self.declared)
        for command in commands:
            self._one(command, sets, declared)
        self.sets, self.declared = sets, declared
        self.transactions.append(list(commands))
        self.on_apply(list(commands))

    def objects(self) -> list[dict[str, Any]]:
        return [{kind: body} for (kind, _, _), body in self.declared.items()]

    def elements(self, name: str, family: str = "inet") -> list[Any]:
        return list(self.sets[(family, name)].values())

    def keys(self, name: str, family: str = "inet") -> set[str]:
        """The keys of a set, each as its JSON text."""
        return set(self.sets[(family, name)])

    @staticmethod
    def _one(
        command: Command,
        sets: dict[tuple[str, str], dict[str, Any]],
        declared: dict[tuple[str, str, str], dict[str, Any]],
    ) -> None:
        ((verb, target),) = command.items()
        ((kind, body),) = target.items()
        place = (body["family"], body.get("name", ""))
        if kind == "element":
            members = sets.get(place)
            if members is None:
                raise NullBoxError(ErrorCode.INTERNAL, f"no such set: {place}")
            for item in body["elem"]:
                key, data = key_of(item), data_of(item)
                if verb == "add":
                    if key in members and data != data_of(members[key]):
                        raise NullBoxError(ErrorCode.INTERNAL, f"File exists: {place} {key}")
                    members[key] = item
                elif members.pop(key, None) is None:
                    raise NullBoxError(ErrorCode.INTERNAL, f"No such file or directory: {place} {key}")
        elif verb == "flush" and kind in ("set", "map"):
            sets[place] = {}
        elif verb == "add" and kind != "rule":
            if kind in ("set", "map") and place not in sets:
                sets[place] = {}
            declared[(kind, *place)] = body
        elif verb == "delete" and declared.pop((kind, *place), None) is None:
            raise NullBoxError(ErrorCode.INTERNAL, f"No such file or directory: {kind} {place}")


def key_of(item: Any) -> str:
    """The key of a set's or map's element, as JSON text."""
    if isinstance(item, list):
        item = item[0]
    if isinstance(item, dict) and "elem" in item:
        item = item["elem"]["val"]
    return json.dumps(item)


def data_of(item: Any) -> Any:
    """What a map's element leads to; None for a set's."""
    return item[1] if isinstance(item, list) else None


class MemoryTaps:
    """TAPs that are only noted down. `log` has every effect in order."""

    def __init__(self) -> None:
        self.taps: dict[Slot, TapState] = {}
        self.ipv6: dict[Slot, int] = {}
        self.log: list[str] = []
        self.forwarding = False

    def list(self) -> list[TapState]:
        return [self.taps[slot] for slot in sorted(self.taps)]

    def create(self, slot: Slot, agent: str, uid: int) -> None:
        up = slot in self.taps and self.taps[slot].up
        self.taps[slot] = TapState(slot, agent, up, uid)
        self.log.append(f"create {slot.tap}")

    def up(self, slot: Slot) -> None:
        tap = self.taps[slot]
        self.taps[slot] = TapState(tap.slot, tap.agent, True, tap.owner)
        self.log.append(f"up {slot.tap}")

    def remove(self, slot: Slot) -> None:
        if self.taps.pop(slot, None) is not None:
            self.log.append(f"remove {slot.tap}")

    def ipv6_drops(self, slots: Iterable[Slot]) -> dict[Slot, int]:
        return {slot: self.ipv6[slot] for slot in slots if slot in self.ipv6}

    def enable_forwarding(self) -> None:
        self.forwarding = True
        self.log.append("forward")


class MemoryResolvers:
    """Resolvers without sockets: a test asks `resolvers.served[agent]` itself."""

    def __init__(self) -> None:
        self.served: dict[str, AgentResolver] = {}

    def open(self, slot: Slot, agent: str, resolver: AgentResolver) -> None:
        self.served[agent] = resolver

    def close(self, agent: str) -> None:
        self.served.pop(agent, None)

    def regrant(self, agent: str, grants: Sequence[Grant], *, learn: bool = False) -> bool:
        if agent in self.served:
            self.served[agent].regrant(grants, learn=learn)
        return agent in self.served

    def forget(self, agent: str) -> int:
        return self.served[agent].forget()

    def healthy(self) -> bool:
        return True

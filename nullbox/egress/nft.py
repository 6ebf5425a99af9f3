"""Edge: the kernel's nftables, through libnftables. Nothing else in NullBox talks to it.

Every list of commands is one transaction: the kernel applies all of it or nothing. Commands that name any table but
ours are refused before they reach the library, so a mistake here can never touch another program's rules.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any, Protocol

from nullbox.egress.expr import Command
from nullbox.egress.sets import SETS, TABLE
from nullbox.protocols.errors import ErrorCode, NullBoxError

FAMILIES = frozenset({"inet", "arp"})
VERBS = frozenset({"add", "delete", "flush", "list"})
OBJECTS = frozenset({"table", "chain", "rule", "set", "map", "element", "limit"})

MAPS = frozenset(spec.name for spec in SETS if spec.value is not None)
"""Names that libnftables lists as a map; it knows no set of such a name."""


class Firewall(Protocol):
    """Where transactions go. `MemoryFirewall` is the twin that tests use."""

    def apply(self, commands: Sequence[Command]) -> None:
        """Carry out all commands as one transaction.

        Raises:
            NullBoxError: `internal`, the kernel refused; nothing was changed.
        """
        ...

    def objects(self) -> list[dict[str, Any]]:
        """Everything in our tables, one mapping per object as libnftables lists it; empty if there are no tables."""
        ...

    def elements(self, name: str, family: str = "inet") -> list[Any]:
        """The elements of one set or map of ours, as libnftables lists them."""
        ...


def guard(commands: Sequence[Command]) -> None:
    """Refuse everything that is not about our own tables.

    Raises:
        NullBoxError: `internal`; a wrong command is a programming error, but one that must never pass.
    """
    for number, command in enumerate(commands):
        if len(command) != 1:
            raise _wrong(number, command, "must have exactly one verb")
        ((verb, target),) = command.items()
        if verb not in VERBS or not isinstance(target, dict) or len(target) != 1:
            raise _wrong(number, command, f"must be one of {sorted(VERBS)} on one object")
        ((kind, body),) = target.items()
        if kind not in OBJECTS or not isinstance(body, dict):
            raise _wrong(number, command, f"must be on one of {sorted(OBJECTS)}")
        if body.get("name" if kind == "table" else "table") != TABLE or body.get("family") not in FAMILIES:
            raise _wrong(number, command, f"must be on table {TABLE!r} in one of {sorted(FAMILIES)}")


def _wrong(number: int, command: Command, why: str) -> NullBoxError:
    return NullBoxError(ErrorCode.INTERNAL, f"firewall command {number} {why}: {str(command)[:200]}")


class KernelFirewall:
    """libnftables in this process, acting on the network namespace of the thread that creates it."""

    def __init__(self) -> None:
        try:
            import nftables

            self._handle = nftables.Nftables()
        except (ImportError, OSError) as error:
            raise NullBoxError(
                ErrorCode.UNAVAILABLE, f"libnftables.so.1 cannot be loaded (Debian: libnftables1): {error}"
            ) from error
        self._lock = threading.Lock()

    def apply(self, commands: Sequence[Command]) -> None:
        if not commands:
            return
        guard(commands)
        self._run(list(commands))

    def objects(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        for family in sorted(FAMILIES):
            answer = self._run([{"list": {"table": {"family": family, "name": TABLE}}}], absent_is_empty=True)
            found += [item for item in answer if "metainfo" not in item]
        return found

    def elements(self, name: str, family: str = "inet") -> list[Any]:
        kind = "map" if name in MAPS else "set"
        answer = self._run([{"list": {kind: {"family": family, "table": TABLE, "name": name}}}])
        return [member for item in answer if kind in item for member in item[kind].get("elem", [])]

    def _run(self, commands: list[Command], *, absent_is_empty: bool = False) -> list[dict[str, Any]]:
        with self._lock:
            code, output, error = self._handle.json_cmd({"nftables": commands})
        if code == 0:
            return list(output["nftables"]) if output else []
        if absent_is_empty and "No such file or directory" in error:
            return []
        raise NullBoxError(
            ErrorCode.INTERNAL, f"the kernel refused a firewall transaction: {' '.join(error.split())[:500]}"
        )

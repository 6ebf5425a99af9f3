"""Which user an agent's VMM runs as: a number of its own for every name, for ever.

The numbers are handed out in the order in which agents first start, and kept in a file beside the agents' data, since
files in a shared folder belong to them. They begin at 1879048192, above every range that systemd documents as used
(https://systemd.io/UIDS-GIDS): no account of a machine has one. An agent's group has the number of its user. One more
group, `DATA_GROUP`, is that of the folders below `/data`; which of them a VMM reaches is the business of its mounts.

`assign` is pure; `Users` is the edge (a file with a lock).
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path

from nullbox.protocols.errors import ErrorCode, NullBoxError

DATA_GROUP = 1879048192
FIRST = DATA_GROUP + 1
COUNT = 65535
"""Names that get a number. A name that was removed keeps its own: its files may still be there."""


def assign(known: Mapping[str, int], agent: str) -> int:
    """The number of an agent: the one it has, or the next free one.

    Raises:
        NullBoxError: `unavailable`, all numbers are taken.
    """
    if agent in known:
        return known[agent]
    number = max(known.values(), default=FIRST - 1) + 1
    if number >= FIRST + COUNT:
        raise NullBoxError(
            ErrorCode.UNAVAILABLE, f"all {COUNT} user numbers of agents are taken; {agent} cannot have one"
        )
    return number


class Users:
    """The file of the numbers. Every change is in it before anyone uses the number."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def uid(self, agent: str) -> int:
        """The agent's number, a new one if it has none.

        Raises:
            NullBoxError: `unavailable`, no number is left, or the file cannot be read for what it should be: a number
                that is given out twice would join two agents, so none is guessed.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = self._read()
            number = assign(known, agent)
            if agent not in known:
                self._write({**known, agent: number})
            return number
        finally:
            os.close(lock)

    def _read(self) -> dict[str, int]:
        try:
            found = json.loads(self._path.read_text())
            known = {str(name): int(number) for name, number in found.items()}
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, AttributeError, TypeError) as error:
            raise self._unusable(str(error)) from error
        numbers = list(known.values())
        if len(set(numbers)) != len(numbers) or not all(FIRST <= number < FIRST + COUNT for number in numbers):
            raise self._unusable("a number is there twice, or is none of an agent's")
        return known

    def _unusable(self, why: str) -> NullBoxError:
        return NullBoxError(
            ErrorCode.UNAVAILABLE,
            f"the users of agents in {self._path} cannot be read ({why}); restore the file, or remove it together with "
            "the agents' data",
        )

    def _write(self, known: Mapping[str, int]) -> None:
        partial = self._path.with_suffix(".new")
        with partial.open("w") as file:
            json.dump(known, file, indent=1, sort_keys=True)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)

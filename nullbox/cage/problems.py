"""Everything that is wrong with one file, collected: a person corrects it once, not once per error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

MAX_SHOWN = 80
"""Longest text of a found value that a message repeats, in characters."""


class Refused(ValueError):
    """A value is outside what is allowed; the text says what is allowed. Raised by checks, collected by the parser."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One error. key: dotted, with `[n]` for an entry of a list. found, allowed: for a person."""

    key: str
    found: str
    allowed: str

    def __str__(self) -> str:
        return f"{self.key}: found {self.found}; allowed: {self.allowed}"


class ManifestError(NullBoxError):
    """A manifest is not valid. `problems` has all errors; `data["errors"]` the same as plain data."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = "\n".join(f"  {problem}" for problem in self.problems)
        count = "1 error" if len(self.problems) == 1 else f"{len(self.problems)} errors"
        super().__init__(
            ErrorCode.INVALID,
            f"AGENT.toml has {count}:\n{lines}",
            {"errors": [asdict(problem) for problem in self.problems]},
        )


def shown(value: Any) -> str:
    """A found value as a message shows it: TOML's words, escaped, cut short."""
    if isinstance(value, bool):
        text = "true" if value else "false"
    elif isinstance(value, dict):
        text = "a table"
    elif isinstance(value, str | int | float | list):
        text = ascii(value)
    else:
        text = f"{type(value).__name__} {value}"
    return text if len(text) <= MAX_SHOWN else text[: MAX_SHOWN - 1] + "…"

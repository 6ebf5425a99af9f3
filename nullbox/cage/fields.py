"""Every key that AGENT.toml knows, as one table: where it is, what it may hold, what it is if it is missing.

A check takes the value that TOML gave and returns the value that the manifest keeps, or raises `Refused` with what is
allowed. Lists have a check for each entry.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from nullbox.cage.grants import check_path
from nullbox.cage.hosts import parse_host_rule
from nullbox.cage.problems import Refused

Check = Callable[[Any], Any]

REQUIRED: Final = object()
"""Default of a key that has to be there."""

MAX_LIST = 256
MAX_ARGUMENT = 512
MAX_KEY_BYTES = 512
MAX_MEMORY_MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Field:
    """One key. default: `REQUIRED`, or what a missing key means. each: the check applies to every entry of a list."""

    check: Check
    default: Any = REQUIRED
    each: bool = False


def text(pattern: str, allowed: str) -> Check:
    """A text that matches a pattern as a whole."""
    expression = re.compile(pattern)

    def check(value: Any) -> str:
        if not isinstance(value, str) or not expression.fullmatch(value):
            raise Refused(allowed)
        return value

    return check


def one_of(*words: str) -> Check:
    """One word of a closed list."""

    def check(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise Refused(" | ".join(f'"{word}"' for word in words))
        return value

    return check


def whole(low: int, high: int) -> Check:
    """A whole number, bounds inclusive."""

    def check(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise Refused(f"a whole number from {low} to {high}")
        return value

    return check


def flag(value: Any) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise Refused("true or false")
    return value


def from_text(parse: Callable[[str], Any], allowed: str) -> Check:
    """A text that another module parses."""

    def check(value: Any) -> Any:
        if not isinstance(value, str):
            raise Refused(allowed)
        return parse(value)

    return check


def argument(value: Any) -> str:
    """One word of a command line."""
    if not isinstance(value, str) or not value.isprintable() or not 1 <= len(_bytes(value)) <= MAX_ARGUMENT:
        raise Refused(f"a printable text of 1 to {MAX_ARGUMENT} bytes")
    return value


def _bytes(value: str) -> bytes:
    return value.encode(errors="replace")


def inside(value: str) -> str:
    """A path that stays inside the agent's folder.

    Raises:
        Refused: absolute, not normalised, or leading out.
    """
    if value.startswith("/") or posixpath.normpath(value) != value or value.split("/")[0] in ("..", "."):
        raise Refused('a normalised path inside the agent\'s folder, such as "main.py"')
    return value


def key_prefix(value: Any) -> str:
    """The beginning of ctxgraph keys; an empty one is the beginning of all."""
    if not isinstance(value, str) or "\0" in value or len(_bytes(value)) > MAX_KEY_BYTES:
        raise Refused(f'the beginning of keys, such as "research.": at most {MAX_KEY_BYTES} bytes, without NUL')
    return value


RISKS = ("low", "medium", "high", "critical")
NAME_PATTERN = r"[a-z][a-z0-9-]{0,31}"

FIELDS = MappingProxyType(
    {
        "agent.name": Field(text(NAME_PATTERN, "^[a-z][a-z0-9-]{0,31}$")),
        "agent.version": Field(
            text(r"[0-9A-Za-z][0-9A-Za-z.+_-]{0,63}", '1 to 64 letters, digits and .+_-, such as "1.2.0"'), "0.0.0"
        ),
        "agent.runtime": Field(one_of("binary", "python"), "binary"),
        "agent.entrypoint": Field(argument, None, each=True),
        "agent.restart": Field(one_of("always", "on-failure", "never"), "on-failure"),
        "agent.autostart": Field(flag, True),
        "capabilities.shell": Field(flag, False),
        "capabilities.credential_refs": Field(
            text(r"[A-Za-z_][A-Za-z0-9_]{0,63}", 'names such as "OPENAI_KEY": letters, digits and _'), (), each=True
        ),
        "capabilities.accelerator": Field(one_of("none"), "none"),
        "capabilities.max_cpu_percent": Field(whole(1, 100), 25),
        "capabilities.max_memory_mb": Field(whole(64, MAX_MEMORY_MB), 256),
        "capabilities.max_api_calls_per_hour": Field(whole(0, 10**9), 0),
        "capabilities.network.allow": Field(
            from_text(parse_host_rule, 'host names such as "api.example.com" or "*.example.com:8443"'), (), each=True
        ),
        "capabilities.filesystem.read": Field(from_text(check_path, "paths below /data"), (), each=True),
        "capabilities.filesystem.write": Field(from_text(check_path, "paths below /data"), (), each=True),
        "capabilities.ctxgraph.read": Field(key_prefix, ("",), each=True),
        "capabilities.ctxgraph.write": Field(key_prefix, ("",), each=True),
        "capabilities.health_check.port": Field(whole(1, 65535)),
        "capabilities.health_check.path": Field(
            text(r"/[!-~]{0,255}", 'a path such as "/health", at most 256 characters of ASCII'), "/health"
        ),
        "capabilities.health_check.interval_secs": Field(whole(1, 86400), 30),
        "capabilities.health_check.max_failures": Field(whole(1, 1000), 3),
    }
)
"""Dotted key → what is allowed there. The tables are the keys' parents; `tools` is apart, for its keys are free."""

OPTIONAL_TABLES = frozenset({"capabilities.health_check"})
"""Tables whose required keys are required only if the table is there."""

TOOL_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""Names under `[tools]`."""

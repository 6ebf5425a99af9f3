"""AGENT.toml → `Manifest`: pure, total, and with every error of the file at once.

The contract of the format is the table in `fields.py`; this module walks it. Whatever the bytes, the outcome is a
`Manifest` or a `ManifestError`, and nothing else.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nullbox.cage.fields import FIELDS, MAX_LIST, OPTIONAL_TABLES, REQUIRED, RISKS, TOOL_NAME, Field, inside, one_of
from nullbox.cage.grants import overlap
from nullbox.cage.hosts import HostRule
from nullbox.cage.problems import ManifestError, Problem, Refused, shown

MAX_BYTES = 64 * 1024
"""Largest AGENT.toml."""

FILE = "(file)"
"""The key of an error that concerns the file as a whole."""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """HTTP check inside the VM: every `interval_secs` seconds; `max_failures` in a row count as a failure."""

    port: int
    path: str
    interval_secs: int
    max_failures: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an agent is and what it may do. Percentages are of the whole machine, memory is in MiB.

    max_api_calls_per_hour: 0 means no limit of its own.
    ctx_read, ctx_write: key prefixes; `("",)` is everything, `()` nothing.
    tools: name → risk.
    """

    name: str
    version: str
    runtime: str
    entrypoint: tuple[str, ...]
    restart: str
    autostart: bool
    shell: bool
    credential_refs: tuple[str, ...]
    accelerator: str
    max_cpu_percent: int
    max_memory_mb: int
    max_api_calls_per_hour: int
    allow: tuple[HostRule, ...]
    read: tuple[str, ...]
    write: tuple[str, ...]
    ctx_read: tuple[str, ...]
    ctx_write: tuple[str, ...]
    health_check: HealthCheck | None
    tools: Mapping[str, str]


def parse(source: bytes | str) -> Manifest:
    """Read the text of an AGENT.toml.

    Raises:
        ManifestError: with every error in it.
    """
    document = _document(source)
    problems: list[Problem] = list(_unknown(document))
    values = {key: _value(document, key, field, problems) for key, field in FIELDS.items()}
    tools = _tools(document, problems)
    _check_entrypoint(values, problems)
    _check_grants(values, problems)
    if problems:
        raise ManifestError(problems)
    return _manifest(values, tools)


def _document(source: bytes | str) -> dict[str, Any]:
    try:
        text = source if isinstance(source, str) else source.decode()
        if len(text.encode(errors="replace")) > MAX_BYTES:
            raise ManifestError([Problem(FILE, f"{len(text)} characters", f"at most {MAX_BYTES} bytes")])
        return tomllib.loads(text)
    except UnicodeDecodeError as error:
        raise ManifestError([Problem(FILE, f"a byte that is no UTF-8 at offset {error.start}", "UTF-8")]) from error
    except (ValueError, RecursionError) as error:
        # tomllib parses nested values by recursion, and Python limits the digits of an integer.
        said = "too deep a nesting" if isinstance(error, RecursionError) else str(error)
        raise ManifestError([Problem(FILE, shown(said), "TOML 1.0")]) from error


TABLES = frozenset({"agent", "capabilities"} | {key.rpartition(".")[0] for key in FIELDS})
"""Dotted names of the tables that hold known keys."""


def _unknown(document: dict[str, Any]) -> Iterator[Problem]:
    """Keys that no row of the table names, and tables that are something else."""
    pending: list[tuple[str, Any]] = [(key, value) for key, value in document.items() if key != "tools"]
    known = sorted({"tools", *(table for table in TABLES if "." not in table)})
    for key, value in pending:
        if key in TABLES and not isinstance(value, dict):
            yield Problem(key, shown(value), "a table")
        elif key in TABLES:
            pending.extend((f"{key}.{name}", below) for name, below in value.items())
        elif key not in FIELDS:
            parent, _, _ = key.rpartition(".")
            names = sorted(_children(parent)) if parent else known
            yield Problem(_printable(key), "a key that is not known", ", ".join(names))


def _children(table: str) -> set[str]:
    below = [name.removeprefix(f"{table}.") for name in (*FIELDS, *TABLES) if name.startswith(f"{table}.")]
    return {name for name in below if "." not in name}


def _printable(key: str) -> str:
    return key if key.isascii() and key.isprintable() and len(key) <= 100 else shown(key)


_MISSING = object()


def _lookup(document: dict[str, Any], key: str) -> Any:
    found: Any = document
    for part in key.split("."):
        if not isinstance(found, dict) or part not in found:
            return _MISSING
        found = found[part]
    return found


def _value(document: dict[str, Any], key: str, field: Field, problems: list[Problem]) -> Any:
    found = _lookup(document, key)
    if found is _MISSING:
        table = key.rpartition(".")[0]
        if field.default is REQUIRED and not (table in OPTIONAL_TABLES and _lookup(document, table) is _MISSING):
            problems.append(Problem(key, "nothing", _allowed(field)))
        return None if field.default is REQUIRED else field.default
    if not field.each:
        return _checked(key, field, found, problems)
    if not isinstance(found, list) or len(found) > MAX_LIST:
        problems.append(Problem(key, shown(found), f"a list of at most {MAX_LIST} entries"))
        return field.default
    kept: list[Any] = []
    for number, entry in enumerate(found):
        value = _checked(f"{key}[{number}]", field, entry, problems)
        if value is not None and value in kept and key != "agent.entrypoint":
            problems.append(Problem(f"{key}[{number}]", shown(entry), "each entry once"))
        kept.append(value)
    return tuple(kept)


def _checked(key: str, field: Field, found: Any, problems: list[Problem]) -> Any:
    try:
        return field.check(found)
    except Refused as refusal:
        problems.append(Problem(key, shown(found), str(refusal)))
        return None


def _allowed(field: Field) -> str:
    try:
        field.check(None)
    except Refused as refusal:
        return f"required: {refusal}"
    raise AssertionError("a check accepts None")


def _tools(document: dict[str, Any], problems: list[Problem]) -> dict[str, str]:
    table = document.get("tools", {})
    if not isinstance(table, dict) or len(table) > MAX_LIST:
        problems.append(Problem("tools", shown(table), f"a table of at most {MAX_LIST} tools"))
        return {}
    check = one_of(*RISKS)
    tools: dict[str, str] = {}
    for name, value in table.items():
        key = f"tools.{_printable(name)}"
        if not TOOL_NAME.fullmatch(name):
            problems.append(Problem(key, shown(name), "a name of 1 to 64 letters, digits and _.-"))
        if not isinstance(value, dict):
            problems.append(Problem(key, shown(value), 'a table such as { risk = "low" }'))
            continue
        for other in value.keys() - {"risk"}:
            problems.append(Problem(f"{key}.{_printable(other)}", "a key that is not known", "risk"))
        risk = _checked(f"{key}.risk", Field(check), value.get("risk"), problems)
        tools[name] = risk if risk is not None else RISKS[-1]
    return tools


def _check_entrypoint(values: dict[str, Any], problems: list[Problem]) -> None:
    entrypoint = values["agent.entrypoint"]
    if entrypoint is None:
        values["agent.entrypoint"] = ("main.py",) if values["agent.runtime"] == "python" else (values["agent.name"],)
    elif not entrypoint:
        problems.append(Problem("agent.entrypoint", "an empty list", "the program and its arguments"))
    elif entrypoint[0] is not None:
        _checked("agent.entrypoint[0]", Field(inside), entrypoint[0], problems)


def _check_grants(values: dict[str, Any], problems: list[Problem]) -> None:
    seen: list[str] = []
    for kind in ("read", "write"):
        key = f"capabilities.filesystem.{kind}"
        for number, path in enumerate(values[key]):
            if path is None:
                continue
            other = overlap(path, seen)
            if other is not None and path not in values[key][:number]:
                allowed = f"no path that equals, holds or lies below another grant ({other})"
                problems.append(Problem(f"{key}[{number}]", shown(path), allowed))
            seen.append(path)


def _manifest(values: dict[str, Any], tools: dict[str, str]) -> Manifest:
    health = None
    if values["capabilities.health_check.port"] is not None:
        health = HealthCheck(
            port=values["capabilities.health_check.port"],
            path=values["capabilities.health_check.path"],
            interval_secs=values["capabilities.health_check.interval_secs"],
            max_failures=values["capabilities.health_check.max_failures"],
        )
    return Manifest(
        name=values["agent.name"],
        version=values["agent.version"],
        runtime=values["agent.runtime"],
        entrypoint=values["agent.entrypoint"],
        restart=values["agent.restart"],
        autostart=values["agent.autostart"],
        shell=values["capabilities.shell"],
        credential_refs=values["capabilities.credential_refs"],
        accelerator=values["capabilities.accelerator"],
        max_cpu_percent=values["capabilities.max_cpu_percent"],
        max_memory_mb=values["capabilities.max_memory_mb"],
        max_api_calls_per_hour=values["capabilities.max_api_calls_per_hour"],
        allow=values["capabilities.network.allow"],
        read=values["capabilities.filesystem.read"],
        write=values["capabilities.filesystem.write"],
        ctx_read=values["capabilities.ctxgraph.read"],
        ctx_write=values["capabilities.ctxgraph.write"],
        health_check=health,
        tools=tools,
    )

"""nulld.toml: what an operator can change about the tree, parsed with all errors at once.

`parse` is pure and takes the decoded TOML; `load` reads the file. Whatever is not said has the builtin default:
the services' own are in `tree`. Every problem names its dotted key, what was found and what is allowed.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from nullbox.egress.config import EgressConfig, check
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.supervision.backoff import Backoff
from nullbox.supervision.durations import parse_duration
from nullbox.supervision.intensity import Intensity
from nullbox.supervision.order import start_order
from nullbox.supervision.spec import BRUTAL, INFINITY, Heartbeat, Restart, parse_restart

SERVICES: Mapping[str, tuple[str, ...]] = MappingProxyType({"egress": (), "ctxgraph": (), "gateway": ()})
"""The services that there are, in the order in which they start, with what each depends on."""

DRIVERS = ("krun", "process")
LARGEST_FILE = 1 << 20


@dataclass(frozen=True, slots=True)
class ServiceSettings:
    """What [service.NAME] says; None where it says nothing. Durations in seconds."""

    depends_on: tuple[str, ...] | None = None
    restart: Restart | None = None
    backoff: Backoff | None = None
    shutdown: float | None = None
    start_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class Principals:
    """Users who may do something: by uid or by gid."""

    uids: tuple[int, ...] = ()
    gids: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Settings:
    """A whole nulld.toml. gateway_socket: None for the layout's own path. gateway_vsock: 0 for no vsock port.
    start_together: agents that may start at once; 0: as many as the machine can bear, see `tree.starts_together`."""

    intensity: Intensity = field(default_factory=Intensity)
    heartbeat: Heartbeat = field(default_factory=Heartbeat)
    services: Mapping[str, ServiceSettings] = field(default_factory=dict)
    gateway_socket: str | None = None
    gateway_vsock: int = 0
    operators: Principals = field(default_factory=lambda: Principals(uids=(0,)))
    readers: Principals = field(default_factory=Principals)
    driver: str = "krun"
    start_together: int = 0
    egress: EgressConfig = field(default_factory=EgressConfig)


Parser = Callable[[object, str, list[str]], Any]
"""(value, dotted key, problems found so far) → what it means; appends to the problems instead of raising."""


def load(path: Path) -> Settings:
    """The settings in a file; the builtin ones when there is no such file.

    Raises:
        NullBoxError: `invalid`: not TOML, too large, or wrong; one line for each problem.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return Settings()
    if len(data) > LARGEST_FILE:
        raise NullBoxError(ErrorCode.INVALID, f"{path} has {len(data)} bytes; allowed: at most {LARGEST_FILE}")
    try:
        raw = tomllib.loads(data.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NullBoxError(ErrorCode.INVALID, f"{path} is not TOML: {error}") from error
    return parse(raw)


def parse(raw: Mapping[str, Any]) -> Settings:
    """Decoded TOML → settings.

    Raises:
        NullBoxError: `invalid`, with one line for each problem.
    """
    problems: list[str] = []
    top = table(TOP)(raw, "", problems)
    supervision = top.get("supervision", {})
    gateway = top.get("gateway", {})
    cage = top.get("cage", {})
    intensity = sound(
        Intensity(supervision.get("max_restarts", 5), supervision.get("period", 60.0)), "supervision", problems
    )
    services: dict[str, ServiceSettings] = top.get("service", {})
    if not problems:
        check_order(services, problems)
    if problems:
        raise NullBoxError(ErrorCode.INVALID, "\n".join(problems), {"problems": problems})
    return Settings(
        intensity=intensity,
        heartbeat=supervision.get("heartbeat", Heartbeat()),
        services=services,
        gateway_socket=gateway.get("socket"),
        gateway_vsock=gateway.get("vsock", 0),
        operators=gateway.get("operators", Principals(uids=(0,))),
        readers=gateway.get("readers", Principals()),
        driver=cage.get("driver", "krun"),
        start_together=cage.get("start_together", 0),
        egress=top.get("egress", EgressConfig()),
    )


def check_order(services: Mapping[str, ServiceSettings], problems: list[str]) -> None:
    """Every dependency exists and none goes in a circle."""
    graph = dict(SERVICES)
    for name, said in services.items():
        if said.depends_on is not None:
            graph[name] = said.depends_on
    try:
        start_order(graph)
    except NullBoxError as error:
        problems.append(f"service: {error.message}")


# --- parsers of single values


def table(fields: Mapping[str, Parser]) -> Parser:
    """A table with these keys, each optional: what was said, by key."""

    def parse_table(value: object, key: str, problems: list[str]) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            problems.append(f"{key} is {value!r}; allowed: a table with {', '.join(fields)}")
            return {}
        said: dict[str, Any] = {}
        for name, inner in value.items():
            dotted = f"{key}.{name}" if key else str(name)
            if name in fields:
                result = fields[name](inner, dotted, problems)
                if result is not None:
                    said[name] = result
            else:
                problems.append(f"{dotted} is not a key here; allowed: {', '.join(fields)}")
        return said

    return parse_table


def checked(convert: Callable[[object], Any]) -> Parser:
    """A value for which `convert` raises ValueError with the rest of the sentence."""

    def parse_value(value: object, key: str, problems: list[str]) -> Any:
        try:
            return convert(value)
        except ValueError as error:
            problems.append(f"{key} {error}")
            return None

    return parse_value


def record(kind: Callable[..., Any], fields: Mapping[str, Parser]) -> Parser:
    """A table that becomes a `kind`, whose own `problems` are asked when the keys are sound."""

    def parse_record(value: object, key: str, problems: list[str]) -> Any:
        before = len(problems)
        said = table(fields)(value, key, problems)
        return sound(kind(**said), key, problems) if len(problems) == before else None

    return parse_record


def sound(value: Any, key: str, problems: list[str]) -> Any:
    """The value, after noting what it says is wrong with itself."""
    if hasattr(value, "problems"):
        problems += [f"{key}.{name} {text}" for name, text in value.problems()]
    return value


def number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"is {value!r}; allowed: a number")
    return float(value)


def count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"is {value!r}; allowed: a whole number from 0")
    return value


def vsock_port(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 32:
        raise ValueError(f"is {value!r}; allowed: a vsock port up to {(1 << 32) - 1}, or 0 for none")
    return value


def names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"is {value!r}; allowed: a list of names")
    if len(set(value)) != len(value):
        raise ValueError(f"is {value!r}; allowed: every name once")
    return tuple(value)


def ids(value: object) -> tuple[int, ...]:
    if not isinstance(value, list):
        raise ValueError(f"is {value!r}; allowed: a list of numbers")
    return tuple(count(item) for item in value)


def shutdown(value: object) -> float:
    if value in ("brutal", "infinity"):
        return BRUTAL if value == "brutal" else INFINITY
    try:
        return parse_duration(value)
    except ValueError:
        raise ValueError(f'is {value!r}; allowed: a duration such as "5s", "brutal" or "infinity"') from None


def absolute(value: object) -> str:
    if not isinstance(value, str) or not value.startswith("/") or "\0" in value:
        raise ValueError(f"is {value!r}; allowed: an absolute path")
    return value


def driver(value: object) -> str:
    if value not in DRIVERS:
        raise ValueError(f"is {value!r}; allowed: {', '.join(DRIVERS)}")
    return str(value)


def service_tables(value: object, key: str, problems: list[str]) -> dict[str, Any]:
    return dict(table(dict.fromkeys(SERVICES, SERVICE))(value, key, problems))


def egress(value: object, key: str, problems: list[str]) -> Any:
    """Egress reads its table itself: here, and again in its own process."""
    config, wrong = check(value)
    problems += wrong
    return config


# --- the schema

DURATION = checked(parse_duration)

BACKOFF = record(
    Backoff,
    {
        "initial": DURATION,
        "factor": checked(number),
        "max": DURATION,
        "reset_after": DURATION,
        "jitter": checked(number),
    },
)

SUPERVISION = table(
    {
        "max_restarts": checked(count),
        "period": DURATION,
        "heartbeat": record(Heartbeat, {"interval": DURATION, "timeout": DURATION}),
    }
)

SERVICE = record(
    ServiceSettings,
    {
        "depends_on": checked(names),
        "restart": checked(parse_restart),
        "backoff": BACKOFF,
        "shutdown": checked(shutdown),
        "start_timeout": DURATION,
    },
)

PRINCIPALS = record(Principals, {"uids": checked(ids), "gids": checked(ids)})

GATEWAY = table(
    {"socket": checked(absolute), "vsock": checked(vsock_port), "operators": PRINCIPALS, "readers": PRINCIPALS}
)

CAGE = table({"driver": checked(driver), "start_together": checked(count)})

TOP: Mapping[str, Parser] = {
    "supervision": SUPERVISION,
    "service": service_tables,
    "gateway": GATEWAY,
    "cage": CAGE,
    "egress": egress,
}

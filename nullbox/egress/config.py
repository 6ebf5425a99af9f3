"""The `[egress]` table of nulld.toml, read and checked. Pure.

[egress]
uplinks = ["eth0"]            # interfaces that lead outside; default: the uplink that PID 1 chose, if any
upstreams = ["10.0.2.3"]      # resolvers, "address[:port]"; default: those of the uplink, if any
exceptions = []               # CIDR blocks that agents may reach although they are special-purpose
learn = false                 # whether an agent may be put into report-only mode
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from nullbox.egress.addresses import Network
from nullbox.egress.slots import TAP_PREFIX
from nullbox.protocols.errors import ErrorCode, NullBoxError

DNS_PORT = 53
KEYS = ("uplinks", "upstreams", "exceptions", "learn")

_NAME = re.compile(r"[A-Za-z0-9_.-]{1,15}")
"""IFNAMSIZ is 16 with the final NUL. No `*`, which would be a wildcard in a rule."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Server:
    """The address of a resolver upstream."""

    host: str
    port: int = DNS_PORT

    def __str__(self) -> str:
        return self.host if self.port == DNS_PORT else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class EgressConfig:
    """The whole table."""

    uplinks: tuple[str, ...] = ()
    upstreams: tuple[Server, ...] = ()
    exceptions: tuple[Network, ...] = ()
    learn: bool = False

    @classmethod
    def read(cls, table: object) -> EgressConfig:
        """Check a table as TOML gives it.

        Raises:
            NullBoxError: `invalid`, one line for each problem: the dotted key, what was found, what is allowed.
        """
        config, problems = check(table)
        if problems:
            raise NullBoxError(ErrorCode.INVALID, "\n".join(problems), {"problems": problems})
        return config

    def to_plain(self) -> dict[str, Any]:
        """As message data, with every key: the inverse of `read`."""
        return {
            "uplinks": list(self.uplinks),
            "upstreams": [str(each) for each in self.upstreams],
            "exceptions": [str(network) for network in self.exceptions],
            "learn": self.learn,
        }


def check(table: object) -> tuple[EgressConfig, list[str]]:
    """The configuration and all that is wrong with it; what is wrong has its default."""
    problems: list[str] = []
    if not isinstance(table, Mapping):
        return EgressConfig(), [f"egress is {table!r}; allowed: a table with {', '.join(KEYS)}"]
    problems += [f"egress.{key} is not a key here; allowed: {', '.join(KEYS)}" for key in table if key not in KEYS]
    uplinks = _each(table, "uplinks", _uplink, problems)
    upstreams = _each(table, "upstreams", _server, problems)
    exceptions = _each(table, "exceptions", _block, problems)
    learn = table.get("learn", False)
    if not isinstance(learn, bool):
        problems.append(f"egress.learn is {learn!r}; allowed: true or false")
    config = EgressConfig(uplinks, upstreams, exceptions, learn is True)
    return config, problems


def _each(table: Mapping[str, Any], key: str, convert: Callable[[str], T], problems: list[str]) -> tuple[T, ...]:
    """A list of texts, each converted; `convert` raises ValueError with what is allowed."""
    texts = table.get(key, [])
    if not isinstance(texts, list):
        problems.append(f"egress.{key} is {texts!r}; allowed: a list of texts")
        return ()
    found = []
    for number, text in enumerate(texts):
        try:
            if not isinstance(text, str):
                raise ValueError("a text")
            found.append(convert(text))
        except ValueError as error:
            problems.append(f"egress.{key}[{number}] is {text!r}; allowed: {error}")
    if len(set(found)) != len(found):
        problems.append(f"egress.{key} is {texts!r}; allowed: every entry once")
    return tuple(found)


def _uplink(text: str) -> str:
    if not _NAME.fullmatch(text) or text in ("lo", ".", ".."):
        raise ValueError("an interface's name of up to 15 characters, not lo")
    if text.startswith(TAP_PREFIX):
        raise ValueError(f"an interface whose name does not begin with {TAP_PREFIX}: those are the agents'")
    return text


def _server(text: str) -> Server:
    host, colon, port = text.partition(":")
    try:
        address = ipaddress.IPv4Address(host)
        number = int(port) if colon and port.isascii() and port.isdecimal() else DNS_PORT if not colon else 0
        if not 1 <= number <= 65535:
            raise ValueError(port)
    except ValueError:
        raise ValueError("an IPv4 address, or address:port with a port from 1 to 65535") from None
    return Server(str(address), number)


def _block(text: str) -> Network:
    try:
        return ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"an address or a CIDR block without host bits ({error})") from None

"""What a manifest grants on the network, as a value: names with ports, and a budget of calls. Pure.

Grants are written `host[:port]` (443 unless given). `*.` at the front stands for exactly one label, and for nothing
else: `*.example.com` covers `a.example.com`, neither `example.com` nor `a.b.example.com` (as in RFC 6125, 6.4.3).
Names compare without case and without a final dot (RFC 4343).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from nullbox.protocols.errors import ErrorCode, NullBoxError

DEFAULT_PORT = 443
MAX_NAME = 253
"""Characters of a name in text form (RFC 1035, 3.1: 255 octets on the wire)."""

_LABEL = re.compile(r"^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$")
_NUMERIC = re.compile(r"^(0x[0-9a-f]*|[0-9]+)$")


@dataclass(frozen=True, slots=True, order=True)
class Grant:
    """One entry of `allow`."""

    host: str
    port: int = DEFAULT_PORT

    @property
    def text(self) -> str:
        """The grant in one canonical spelling; it is what the kernel keeps beside the grant's mark."""
        return f"{self.host}:{self.port}"

    def covers_name(self, name: str) -> bool:
        """Whether this grant is about that host name; `name` as `normalise` gives it."""
        if self.host.startswith("*."):
            _, _, parent = name.partition(".")
            return parent == self.host[2:]
        return name == self.host


@dataclass(frozen=True, slots=True)
class LinkPolicy:
    """The network part of one agent's manifest.

    calls_per_hour: new flows to granted hosts within any hour; 0 means no limit.
    learn: report-only: every public address may be reached, and what was used is reported. Needs
        the operator's consent.
    """

    allow: tuple[Grant, ...] = ()
    calls_per_hour: int = 0
    learn: bool = False


def normalise(name: str) -> str:
    """The form in which names are compared: lower case, no final dot."""
    return name.lower().removesuffix(".")


@lru_cache(maxsize=4096)
def parse_grant(text: str) -> Grant:
    """Read one `host[:port]`.

    Raises:
        NullBoxError: `invalid`, with what was found and what would be right.
    """
    host, colon, port_text = text.strip().rpartition(":")
    if not colon:
        host, port_text = text.strip(), str(DEFAULT_PORT)
    if not (port_text.isascii() and port_text.isdecimal() and 1 <= int(port_text) <= 65535):
        raise _invalid(text, "the port must be a number from 1 to 65535")
    host = normalise(host)
    labels = host.removeprefix("*.").split(".")
    if "*" in host.removeprefix("*.") or host == "*":
        raise _invalid(text, "a wildcard is '*.' at the front of a name and stands for one label")
    if len(host) > MAX_NAME or not all(_LABEL.match(label) for label in labels):
        raise _invalid(text, "the host must be a name in ASCII (IDNA names as xn--…)")
    if len(labels) < 2:
        raise _invalid(text, "the host must have at least two labels; a top-level domain is not a grant")
    # No top-level domain is a number, so such a name is an IPv4 address in one of its many spellings (WHATWG URL, 3.5).
    if _NUMERIC.match(labels[-1]):
        raise _invalid(text, "the host must be a name, not an address")
    return Grant(host, int(port_text))


def parse_policy(allow: Iterable[str], calls_per_hour: int = 0, *, learn: bool = False) -> LinkPolicy:
    """The policy of one agent; the order and repetition of entries do not matter.

    Raises:
        NullBoxError: `invalid`.
    """
    if calls_per_hour < 0:
        raise NullBoxError(ErrorCode.INVALID, f"max_api_calls_per_hour is {calls_per_hour}: must be 0 or more")
    return LinkPolicy(tuple(sorted({parse_grant(text) for text in allow})), calls_per_hour, learn)


def _invalid(text: str, right: str) -> NullBoxError:
    return NullBoxError(ErrorCode.INVALID, f"network grant {text!r}: {right}")

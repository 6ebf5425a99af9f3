"""What a manifest may name in `network.allow`: host names with an optional `*.` in front and an optional port.

A `*` stands for exactly one label. It must not stand for every customer of a registry, so `*.` before a public suffix
is refused. The full list (https://publicsuffix.org) has 10,000 entries and changes weekly, which an immutable image
cannot follow; `TWO_LABEL_SUFFIXES` holds the ones that are in wide use. What it misses is an over-wide grant that
the author wrote, in a manifest that the operator reads: a nuisance, not a hole.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nullbox.cage.problems import Refused

DEFAULT_PORT = 443
MAX_NAME = 253
"""Longest name in characters (RFC 1035, 2.3.4, without the final dot)."""

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_PORT = re.compile(r"[1-9][0-9]{0,4}")

_SECOND_LEVEL = "ac co com edu gov go ltd me mil ne net nom or org sch"
_COUNTRIES = (
    "ae ar at au bd br cn co cr cy eg et fj gh gr hk id il in jp ke kr lb lk ma mm mt mx my mz na ng ni np nz om pa "
    "pe ph pk pl pt py qa ro rs ru sa sg si sv th tr tw tz ua ug uk uy ve vn ye za zm zw"
)
_HOSTING = (
    "github.io gitlab.io pages.dev workers.dev web.app firebaseapp.com herokuapp.com netlify.app vercel.app "
    "azurewebsites.net cloudfront.net amazonaws.com appspot.com run.app fly.dev onrender.com blogspot.com "
    "ngrok.io ngrok.app trycloudflare.com duckdns.org readthedocs.io"
)


def _two_label_suffixes() -> frozenset[str]:
    registries = {f"{second}.{country}" for second in _SECOND_LEVEL.split() for country in _COUNTRIES.split()}
    return frozenset(registries | set(_HOSTING.split()))


TWO_LABEL_SUFFIXES = _two_label_suffixes()
"""Names of two labels under which strangers register: registries' second levels, and hosting services."""


@dataclass(frozen=True, slots=True, order=True)
class HostRule:
    """One permission to connect: a name in lower case, with `*.` in front if it stands for one more label."""

    host: str
    port: int = DEFAULT_PORT

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_host_rule(text: str) -> HostRule:
    """Read `host` or `host:port`.

    Raises:
        Refused: an address, a bare or too wide wildcard, no name of two labels or more, a bad port.
    """
    if text.startswith("[") or text.count(":") > 1:
        raise Refused("a host name, not an address")
    name, colon, port_text = text.partition(":")
    if colon and (not _PORT.fullmatch(port_text) or int(port_text) > 65535):
        raise Refused("a port from 1 to 65535 after the colon")
    host = name.lower()
    wildcard, base = (True, host[2:]) if host.startswith("*.") else (False, host)
    labels = base.split(".")
    if host == "*" or "*" in base:
        raise Refused('"*." once, in front of a name; it stands for exactly one label')
    if len(host) > MAX_NAME or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refused(
            "a host name: labels of 1 to 63 letters, digits and hyphens, joined by dots, at most 253 characters "
            "(an international name in its xn-- form)"
        )
    if labels[-1].isdigit() or re.fullmatch(r"0x[0-9a-f]*", labels[-1]):
        raise Refused("a host name, not an address")
    if len(labels) < 2:
        raise Refused("a full name of at least two labels, and no wildcard over a whole top-level domain")
    if wildcard and base in TWO_LABEL_SUFFIXES:
        raise Refused(f'a narrower wildcard: anybody can register a name below "{base}"')
    return HostRule(host, int(port_text) if colon else DEFAULT_PORT)

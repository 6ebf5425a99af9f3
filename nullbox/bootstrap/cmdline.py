"""What the kernel command line says to PID 1: the `nullbox.*` parameters, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Final

from nullbox.bootstrap import lease

PREFIX: Final = "nullbox."


@dataclass(frozen=True, slots=True)
class Cmdline:
    """The parameters PID 1 knows, with their defaults.

    on_failure: what to do when the actor system cannot be kept up: `hold` (stay, show the reason) or `reboot`.
    heartbeat_timeout: seconds without a sign of life after which the actor system is killed and restarted.
    start_timeout: seconds the actor system has until its first sign of life (emulated machines are slow).
    hostname: the machine's name.
    uplink: how the uplink gets its address: `dhcp`, `none`, `ADDRESS/PREFIX[,ROUTER[,RESOLVER…]]`; empty: as the STATE
    partition says, else `dhcp`.
    uplink_interface: the network card that is the uplink, or `auto`.
    """

    on_failure: str = "hold"
    heartbeat_timeout: float = 30.0
    start_timeout: float = 120.0
    hostname: str = "nullbox"
    uplink: str = ""
    uplink_interface: str = "auto"


ON_FAILURE: Final = ("hold", "reboot")


def parse(text: str) -> tuple[Cmdline, list[str]]:
    """Read `/proc/cmdline`.

    Unknown or malformed parameters do not stop a boot: each gives one complaint that says what was found and what
    would be right, and the default holds. Words without our prefix belong to the kernel.
    """
    known = {f.name for f in fields(Cmdline)}
    values: dict[str, object] = {}
    complaints: list[str] = []
    for word in text.split():
        if not word.startswith(PREFIX):
            continue
        name, _, raw = word[len(PREFIX) :].partition("=")
        name = name.replace("-", "_")
        if name not in known:
            complaints.append(f"unknown parameter {word!r}; known: {', '.join(sorted(known))}")
            continue
        try:
            values[name] = _value(name, raw)
        except ValueError as error:
            complaints.append(f"{word!r}: {error}; using the default")
    return Cmdline(**values), complaints  # type: ignore[arg-type]  # _value checked each by name


def _value(name: str, raw: str) -> object:
    if name == "on_failure":
        if raw not in ON_FAILURE:
            raise ValueError(f"must be one of {', '.join(ON_FAILURE)}")
        return raw
    if name == "hostname":
        if not raw or len(raw) > 63 or not all(c.isalnum() or c == "-" for c in raw):
            raise ValueError("must be 1 to 63 letters, digits or hyphens (RFC 1123)")
        return raw
    if name == "uplink":
        lease.parse_setting(raw)
        return raw
    if name == "uplink_interface":
        if not 0 < len(raw) < 16 or not all(c.isalnum() or c in "._-" for c in raw):
            raise ValueError("must be the name of an interface, or auto")
        return raw
    seconds = float(raw)
    if not 1 <= seconds <= 3600:
        raise ValueError("must be a number of seconds from 1 to 3600")
    return seconds

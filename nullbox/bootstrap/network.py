"""Which network card is the uplink and how it gets its address, as a task for the phases. `uplink` does the rest."""

from __future__ import annotations

import json
from typing import Final

from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.host import Host
from nullbox.bootstrap.lease import DHCP, NONE, LeaseError, choose_interface, parse_setting

RECORD: Final = "/run/nullbox/uplink.json"
SETTING: Final = "/var/lib/nullbox/uplink"
"""On the STATE partition: one line, as `nullbox.uplink` has it. The command line outranks it."""


def setting(host: Host, cmdline: Cmdline) -> tuple[str, str]:
    """How the uplink gets its address, and what is wrong with what was found on the STATE partition."""
    if cmdline.uplink:
        return cmdline.uplink, ""
    text = host.read_file(SETTING, 1024).decode(errors="replace").strip()
    if not text:
        return DHCP, ""
    try:
        parse_setting(text)
    except LeaseError as error:
        return DHCP, f"{SETTING}: {error}; using {DHCP}"
    return text, ""


def choose_uplink(host: Host, cmdline: Cmdline) -> str:
    """Write the first record, so that egress knows the interface before it loads its rules."""
    how, wrong = setting(host, cmdline)
    interface, why = choose_interface(cmdline.uplink_interface, host.network_cards())
    if interface and how != NONE:
        kind = DHCP if how == DHCP else "static"
        record = json.dumps({"interface": interface, "how": kind}, sort_keys=True) + "\n"
        host.replace_file(RECORD, record.encode(), 0o644)
        said = f"the uplink is {interface} ({why}), by {how}"
    else:
        said = f"no uplink: {why if not interface else 'switched off'}"
    return f"{said}; {wrong}" if wrong else said


def interface_of(record: bytes) -> str:
    """The interface that a record names; empty if it is none."""
    try:
        name = json.loads(record)["interface"]
    except (ValueError, KeyError, TypeError):
        return ""
    return name if isinstance(name, str) else ""

"""What the last crash left: the kernel's last log from pstore, kept below /var/log/nullbox/kernel; the actor system's
last report. As tasks for the phases and lines for the recovery hold.

pstore keeps the end of the log of a kernel that died in memory that survives a reset (ramoops), or in variables of the
firmware. Its files are read once, kept, and taken out of it, so that there is room for the next.

Source: Documentation/admin-guide/ramoops.rst, Documentation/ABI/testing/pstore.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.host import Host
from nullbox.bootstrap.mounts import PSTORE

KERNEL_LOGS: Final = "/var/log/nullbox/kernel"
LAST_KERNEL: Final = "/run/nullbox/last-kernel-crash"
"""The end of the newest one, if this boot came after a crash."""
LAST_REPORT: Final = "/run/nullbox/last-crash"
"""Written by the root supervisor (layout.last_crash): the last crash report of an actor."""

LARGEST: Final = 256 << 10
KEEP: Final = 16
"""Files of earlier crashes."""
TAIL_LINES: Final = 12
LINE: Final = 160

_NAME = re.compile(r"(dmesg|console|pmsg|ftrace)-[a-z0-9_]+-[0-9]+(\.enc\.z)?")
_PRINTABLE = re.compile(r"[^\x20-\x7e]")


def collect(host: Host, _: Cmdline) -> str | None:
    """Move everything in pstore to `KERNEL_LOGS`; say what the kernel's last words were."""
    try:
        host.mount(PSTORE)
        found = [name for name in host.entries(PSTORE.target) if _NAME.fullmatch(name)]
    except OSError:
        return None  # a kernel without pstore, or without a place behind it
    stamp = int(host.now())
    oops = [name for name in found if name.startswith("dmesg-")]
    for name in found:
        content = host.read_file(f"{PSTORE.target}/{name}", LARGEST)
        if name.startswith("dmesg-") or oops:  # the console of a boot that ended well is no crash
            host.replace_file(f"{KERNEL_LOGS}/{stamp}-{name}", content, 0o600)
        if name == (oops[0] if oops else ""):
            host.replace_file(LAST_KERNEL, "\n".join(tail(content.decode(errors="replace"))).encode(), 0o600)
        host.remove(f"{PSTORE.target}/{name}")
    for name in host.entries(KERNEL_LOGS)[:-KEEP]:
        host.remove(f"{KERNEL_LOGS}/{name}")
    if not oops:
        return None
    return f"the last boot ended in a crash of the kernel; its log is {KERNEL_LOGS}/{stamp}-{oops[0]}"


def tail(text: str, lines: int = TAIL_LINES) -> list[str]:
    """The last lines that say something, in characters that any console shows, each of bounded length."""
    shown = [_PRINTABLE.sub("?", line.expandtabs(4).rstrip())[:LINE] for line in text.splitlines()]
    return [line for line in shown if line][-lines:]


def reports(host: Host) -> Sequence[tuple[str, Sequence[str]]]:
    """For the recovery hold: a heading and lines for each report that there is."""
    found = []
    for heading, path in (
        ("last crash report", LAST_REPORT),
        ("last words of the kernel before this boot", LAST_KERNEL),
    ):
        lines = tail(host.read_file(path, LARGEST).decode(errors="replace"))
        if lines:
            found.append((heading, lines))
    return found

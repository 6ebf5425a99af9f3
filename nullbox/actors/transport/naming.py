"""Names of mailboxes: the file name of the socket says which process may claim it.

`admin` is the system's administrator; every other name is `<kind>.<pid>.<n>`. The kernel reports the pid behind a
connection (SO_PEERCRED, unix(7)), so a process cannot claim another one's name, whatever its uid.
"""

from __future__ import annotations

import re
import time

ADMIN = "admin"
ACTOR = "actor"
EXTERNAL = "ext"
LOGGER = "logger"

_NAME = re.compile(r"(actor|ext|logger)\.([1-9][0-9]{0,9})\.([1-9][0-9]{0,15})")
_last = 0


def serial() -> int:
    """A number that no two mailboxes of one boot share: the kernel gives a pid anew some day, and what was meant for a
    dead actor must not reach another. Microseconds of CLOCK_MONOTONIC, never twice the same in a process."""
    global _last
    _last = max(_last + 1, time.monotonic_ns() // 1000)
    return _last


def name(kind: str, pid: int, number: int) -> str:
    """The name of a mailbox. A parent draws the number before it forks, and so knows its child's name with its pid."""
    return f"{kind}.{pid}.{number}"


def owner_pid(mailbox: str, admin_pid: int) -> int | None:
    """The pid of the only process that may use `mailbox`, or None where that is no mailbox's name."""
    if mailbox == ADMIN:
        return admin_pid or None
    match = _NAME.fullmatch(mailbox)
    return int(match[2]) if match else None


def is_acceptable(mailbox: str, pid: int, uid: int, *, admin_pid: int, own_uid: int) -> str | None:
    """Decide whether a peer with these kernel-reported credentials may be `mailbox`; None is yes, else the reason."""
    if uid != own_uid:
        return f"uid {uid} is not {own_uid}"
    owner = owner_pid(mailbox, admin_pid)
    if owner is None:
        return "not the name of a mailbox"
    if owner != pid:
        return f"it belongs to pid {owner}, and the peer is pid {pid}"
    return None

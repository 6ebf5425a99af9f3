"""Names of mailboxes: the file name of the socket says which process may claim it.

`admin` is the system's administrator; every other name is `<kind>.<pid>.<n>`. The kernel reports the pid behind a
connection (SO_PEERCRED, unix(7)), so a process cannot claim another one's name, whatever its uid.
"""

from __future__ import annotations

import itertools
import re

ADMIN = "admin"
ACTOR = "actor"
EXTERNAL = "ext"
LOGGER = "logger"

_NAME = re.compile(r"(actor|ext|logger)\.([1-9][0-9]{0,9})\.([1-9][0-9]{0,9})")
_counter = itertools.count(2)


def first_name(kind: str, pid: int) -> str:
    """The name of the first mailbox of a process: its parent can tell it as soon as it knows the pid."""
    return f"{kind}.{pid}.1"


def further_name(kind: str, pid: int) -> str:
    """Another mailbox of the same process."""
    return f"{kind}.{pid}.{next(_counter)}"


def owner_pid(name: str, admin_pid: int) -> int | None:
    """The pid of the only process that may use `name`, or None where `name` is no mailbox's name."""
    if name == ADMIN:
        return admin_pid or None
    match = _NAME.fullmatch(name)
    return int(match[2]) if match else None


def is_acceptable(name: str, pid: int, uid: int, *, admin_pid: int, own_uid: int) -> str | None:
    """Decide whether a peer with these kernel-reported credentials may be `name`; None is yes, else the reason."""
    if uid != own_uid:
        return f"uid {uid} is not {own_uid}"
    owner = owner_pid(name, admin_pid)
    if owner is None:
        return "not the name of a mailbox"
    if owner != pid:
        return f"it belongs to pid {owner}, and the peer is pid {pid}"
    return None

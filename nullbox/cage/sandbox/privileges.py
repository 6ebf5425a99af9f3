"""Effects: what a sandboxed agent may not do any more. Each step is in `STEPS`; one that fails raises, and there is no
agent then."""

from __future__ import annotations

import errno
import os
import platform
import resource
from collections.abc import Callable
from pathlib import Path

from nullbox.cage.sandbox import calls, syscalls
from nullbox.cage.vmplan import ProcessSpec

LAST_CAPABILITY = Path("/proc/sys/kernel/cap_last_cap")


def no_core_dumps(_: ProcessSpec) -> None:
    """A dump would be written somewhere by the host."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def no_capability_ever(_: ProcessSpec) -> None:
    """No program that the agent executes can have one."""
    for number in range(int(LAST_CAPABILITY.read_text()) + 1):
        syscalls.prctl(syscalls.PR_CAPBSET_DROP, number)
    syscalls.prctl(syscalls.PR_CAP_AMBIENT, syscalls.PR_CAP_AMBIENT_CLEAR_ALL)


def own_user(spec: ProcessSpec) -> None:
    """A user and a group of the agent's own, and no other."""
    if spec.uid == 0 or spec.gid == 0:
        raise OSError(1, "an agent is never root")
    os.setgroups([])
    os.setresgid(spec.gid, spec.gid, spec.gid)
    os.setresuid(spec.uid, spec.uid, spec.uid)


def no_capability_now(_: ProcessSpec) -> None:
    """Leaving uid 0 took most of them; this takes the inheritable ones."""
    syscalls.drop_capabilities()


def no_new_privileges(_: ProcessSpec) -> None:
    """No set-uid program raises it again."""
    syscalls.prctl(syscalls.PR_SET_NO_NEW_PRIVS, 1)


def no_dangerous_calls(_: ProcessSpec) -> None:
    """The table is of x86-64; elsewhere there is no sandbox rather than one without it."""
    if platform.machine() != "x86_64":
        raise OSError(errno.ENOSYS, f"the filter is of x86_64, not of {platform.machine()}")
    syscalls.load_filter(calls.encoded())


STEPS: tuple[tuple[str, Callable[[ProcessSpec], None]], ...] = (
    ("turn core dumps off", no_core_dumps),
    ("empty the capability bounding set", no_capability_ever),
    ("become the agent's user", own_user),
    ("drop all capabilities", no_capability_now),
    ("set no_new_privs", no_new_privileges),
    ("filter system calls", no_dangerous_calls),
)
"""In this order: what needs privileges comes before they go."""


def drop(spec: ProcessSpec) -> None:
    """All steps.

    Raises:
        OSError: one could not be done; its name is in the message.
    """
    for name, step in STEPS:
        try:
            step(spec)
        except OSError as error:
            raise OSError(error.errno, f"{name}: {error.strerror}") from error

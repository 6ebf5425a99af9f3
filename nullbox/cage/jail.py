"""Confine the process that is about to become a VMM (edge module: prctl, setrlimit, setsid, descriptors).

A VMM and its guest are one security context, so what the guest may not do is taken from this process before the guest
exists. Each step is a function of its own in `STEPS`, in order; a step that fails raises, and the runner then starts
no VM: a jail that is not whole is none.

Sources: prctl(2), setrlimit(2), setsid(2), close_range(2), libkrun's README ("Security model").
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Callable

from nullbox.cage.vmplan import JailSpec

PR_SET_NO_NEW_PRIVS = 38
PR_SET_DUMPABLE = 4
KEPT_DESCRIPTORS = 3
"""Standard input, output and error. Everything from here on is closed."""


def apply(spec: JailSpec) -> None:
    """Take every step in order.

    Raises:
        OSError: a step could not be done; its name is in the message.
    """
    for name, step in STEPS:
        try:
            step(spec)
        except OSError as error:
            raise OSError(error.errno, f"{name}: {error.strerror}") from error


def close_descriptors(_: JailSpec) -> None:
    """Nothing that this process inherited stays open: an actor's sockets are no business of a guest."""
    os.closerange(KEPT_DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def no_core_dumps(_: JailSpec) -> None:
    """A dump would hold the guest's whole memory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def no_new_privileges(_: JailSpec) -> None:
    """No setuid file and no file capability ever raises this process again."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def not_dumpable(_: JailSpec) -> None:
    """Other processes of the same user may not attach to it or read its memory."""
    _prctl(PR_SET_DUMPABLE, 0)


STEPS: tuple[tuple[str, Callable[[JailSpec], None]], ...] = (
    ("close descriptors", close_descriptors),
    ("turn core dumps off", no_core_dumps),
    ("set no_new_privs", no_new_privileges),
    ("turn ptrace by others off", not_dumpable),
)
"""Name, for the message of a failure → what is done. Steps that cost privileges come last."""


def _prctl(option: int, value: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

"""The ways in which a process can fail, and how to bring each about. An edge module: `commit` may not return."""

from __future__ import annotations

import errno
import os
import signal
import time
from enum import IntEnum


class Fault(IntEnum):
    """What happens at a fail point. The number is what the board holds; 0 is none."""

    SIGKILL = 1
    SIGSEGV = 2
    SIGSTOP = 3
    EXCEPTION = 4
    HANG = 5
    ENOSPC = 6
    EMFILE = 7
    ENOMEM = 8
    EIO = 9


ERRNOS = {
    Fault.ENOSPC: errno.ENOSPC,
    Fault.EMFILE: errno.EMFILE,
    Fault.ENOMEM: errno.ENOMEM,
    Fault.EIO: errno.EIO,
}

SIGNALS = {
    Fault.SIGKILL: signal.SIGKILL,
    Fault.SIGSEGV: signal.SIGSEGV,
    Fault.SIGSTOP: signal.SIGSTOP,
}

RAISED = frozenset({Fault.EXCEPTION, *ERRNOS})
"""Faults that a program can survive by handling them: those that PID 1 must take."""


class InjectedFault(RuntimeError):
    """The unhandled exception of `Fault.EXCEPTION`."""


def commit(fault: Fault, where: str) -> None:
    """Do it. Returns only after a SIGSTOP that somebody ended.

    Raises:
        OSError: for the errno faults.
        InjectedFault: for `EXCEPTION`.
    """
    if fault in ERRNOS:
        raise OSError(ERRNOS[fault], f"{os.strerror(ERRNOS[fault])} (injected at {where})")
    if fault in SIGNALS:
        os.kill(os.getpid(), SIGNALS[fault])
    elif fault is Fault.HANG:
        time.sleep(3600)
    else:
        raise InjectedFault(f"injected at {where}")

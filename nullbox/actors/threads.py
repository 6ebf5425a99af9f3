"""Other threads of an actor's process: one that dies of an exception is the actor's crash, at once and with its reason.

Python prints a traceback and goes on without the thread: the actor would look alive and do nothing. An edge module: it
sets `threading.excepthook`, and ends the process where the actor's own thread does not.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable

from nullbox.actors import process
from nullbox.actors.base import FLUSH_SECONDS, BaseActor

PATIENCE = 2 * FLUSH_SECONDS
"""Seconds for the actor's own thread to report the crash. It may be waiting for the thread that died."""


def crash_with_threads(
    actor: BaseActor, patience: float = PATIENCE, end: Callable[[int], object] = process.end
) -> None:
    """From now on an unhandled exception in any thread of this process ends the actor."""

    def died(report: threading.ExceptHookArgs) -> None:
        error = report.exc_value
        if error is None or isinstance(error, SystemExit):
            return
        name = report.thread.name if report.thread is not None else "unknown"
        actor._runtime.call(actor._crash, f"thread {name}", error)
        time.sleep(patience)  # the crash ends the process meanwhile
        traceback.print_exception(error)
        end(process.EXIT_CRASH)

    threading.excepthook = died

"""Effects: the actor system as a fork of PID 1.

It begins with the interpreter and the standard library that PID 1 has loaded: the two share that memory, and the start
does not load it a second time. PID 1 has one thread and few objects; what it holds open is closed in the child, since
no exec does that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from typing import Final, NoReturn

CRASHED: Final = 70
"""Exit status after an exception (EX_SOFTWARE of sysexits.h)."""
MOST_DESCRIPTORS: Final = 4096


def fork(main: Callable[[], object], keep: int) -> int:
    """Run `main` in a process and session of its own, with descriptors 0 to 2 and `keep`, and no environment. Its pid.

    Raises:
        OSError: there can be no process more.
    """
    pid = os.fork()
    if pid == 0:
        _child(main, keep)
    return pid


def _child(main: Callable[[], object], keep: int) -> NoReturn:
    status = CRASHED
    try:
        os.setsid()
        _forget_signals()
        os.closerange(3, keep)
        os.closerange(keep + 1, MOST_DESCRIPTORS)
        os.environ.clear()
        # PID 1 may have begun without them, before there was a console.
        sys.stdout, sys.stderr = (os.fdopen(fd, "w", 1, errors="backslashreplace", closefd=False) for fd in (1, 2))
        main()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else int(leaving.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status)


def _forget_signals() -> None:
    """Signals mean what they do by default, but for a broken pipe, which is an error of a write in every Python."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGPIPE}:
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())

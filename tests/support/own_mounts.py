"""Run a part of a test in a mount namespace of its own: what it mounts is gone when it ends, whatever happens."""

from __future__ import annotations

import ctypes
import os
import sys
import traceback
from collections.abc import Callable

CLONE_NEWNS = 0x20000


def in_own_mounts(work: Callable[[], None]) -> None:
    """Fork, leave the mount namespace, run. Needs root. Raises AssertionError if `work` raised; stderr says why."""
    from nullbox.cage import mounts

    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
                raise OSError(ctypes.get_errno(), "unshare")
            mounts.make_private()
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "see the traceback of the forked process in the captured output"

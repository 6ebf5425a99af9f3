"""The end of everything: processes, what is to last, the machine. The one place that PID 1 sleeps in."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from typing import Final

from nullbox.bootstrap import lasting, state
from nullbox.bootstrap.host import RB_AUTOBOOT, RB_POWER_OFF, Host
from nullbox.bootstrap.log import Level
from nullbox.bootstrap.partitions import STATE_LABEL, labelled
from nullbox.bootstrap.phases import Log

GRACE: Final = 3.0
"""Seconds between SIGTERM and SIGKILL for whatever still runs at the end."""
LAST_GRACE: Final = 15.0
"""Seconds for what was killed to be gone: the kernel takes an emulated machine's VMs down slowly."""


def end(host: Host, log: Log, how: str) -> None:
    """End everything: SIGTERM to all, SIGKILL after `GRACE` seconds; save clock and seed; take /var off, so that its
    file system is whole; for a reset, empty it; then power off or reboot."""
    log(f"power {how}: ending all processes", Level.INFO)
    _guarded(log, "save clock and seed", lambda: lasting.save(host))
    end_processes(host)
    host.sync()
    taken_off = _guarded(log, "unmount /var", lambda: host.unmount(state.MOUNT_POINT))
    if how == "reset":
        if taken_off:
            _guarded(log, "empty the state", lambda: log(empty_state(host), Level.INFO))
        else:
            log("power reset: the state is still in use and was not emptied", Level.ERROR)
    log(f"power {how}: done", Level.INFO)
    host.reboot(RB_POWER_OFF if how == "off" else RB_AUTOBOOT)


def end_processes(host: Host) -> None:
    """Every process but this one: SIGTERM, and SIGKILL after `GRACE` seconds."""
    host.kill(-1, signal.SIGTERM)
    _wait_for_all(GRACE)
    host.kill(-1, signal.SIGKILL)
    _wait_for_all(LAST_GRACE)


def empty_state(host: Host) -> str:
    """Wipe the partition labelled STATE; the next boot makes a new file system on it. Returns what was done.

    Raises:
        OSError: the device refuses.
    """
    plan = state.plan(labelled(STATE_LABEL, host.block_devices()))
    if not plan.device:
        return f"power reset: nothing was emptied: {plan.why}"
    host.wipe_device(plan.device)
    return f"power reset: {plan.device} is empty"


def _guarded(log: Log, what: str, do: Callable[[], object]) -> bool:
    """Nothing that goes wrong here keeps the machine from ending. Returns whether it went well."""
    try:
        do()
    except Exception as error:
        log(f"cannot {what}: {error}", Level.WARNING)
        return False
    return True


def _wait_for_all(seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.02)
        except ChildProcessError:
            return

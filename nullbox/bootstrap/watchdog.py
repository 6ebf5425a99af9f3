"""Effects: the hardware watchdog (Documentation/watchdog/watchdog-api.rst). It resets a machine whose tree is sick."""

from __future__ import annotations

import os


class Watchdog:
    """Opens `/dev/watchdog` at the first healthy moment, so that a machine that never comes up is not reset in a
    circle, and then has to be petted until `release`: merely closed, or with its holder dead, it resets the machine."""

    def __init__(self, path: str = "/dev/watchdog") -> None:
        self._path = path
        self._fd = -1
        self._absent = False

    def pet(self, *, healthy: bool) -> None:
        """Tell the hardware that all is well, if it is. Never raises."""
        if not healthy or self._absent:
            return
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
            os.write(self._fd, b"\0")
        except OSError:
            self._absent = self._fd < 0

    def release(self) -> None:
        """Call it off by the magic close, for a machine that is to stay as it is. Never raises."""
        try:
            if self._fd >= 0:
                os.write(self._fd, b"V")
                os.close(self._fd)
        except OSError:
            pass
        self._fd = -1
        self._absent = True

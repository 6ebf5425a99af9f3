"""Effects: starts the process that looks after the uplink, and reads what it left. `helper` decides what follows."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

from nullbox.bootstrap import helper, network
from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.helper import Helper
from nullbox.bootstrap.host import Host
from nullbox.bootstrap.log import Level
from nullbox.bootstrap.phases import Log

LARGEST = 65536


def python_argv(program: str, *arguments: str) -> list[str]:
    """This interpreter, isolated as we are, with our own code on its path, running a line of Python."""
    code_root = str(Path(__file__).resolve().parents[2])
    return [sys.executable, "-IS", "-c", f"import sys; sys.path.insert(0, {code_root!r}); {program}", *arguments]


class UplinkKeeper:
    """Does nothing on a machine without an uplink."""

    def __init__(self, host: Host, log: Log, options: Cmdline) -> None:
        self._host = host
        self._log = log
        self._options = options
        self._helper = Helper()

    @property
    def due(self) -> float | None:
        return self._helper.due

    def begin(self) -> None:
        """At boot: once, if there is an uplink."""
        if self._record():
            self._helper = Helper(0, time.monotonic())

    def exited(self, pid: int, code: int | None) -> None:
        """A process ended; perhaps ours."""
        if pid != self._helper.pid or pid == 0:
            return
        record = self._record()
        self._helper = helper.ended(code, record, time.monotonic())
        level = Level.INFO if code == 0 else Level.WARNING
        self._log(f"uplink: {record.decode(errors='replace').strip()}", level)

    def tick(self) -> None:
        """Start it, or kill it, if that is due."""
        if self._helper.due is None or time.monotonic() < self._helper.due:
            return
        if self._helper.pid:
            self._host.kill(self._helper.pid, signal.SIGKILL)
            self._helper = Helper(self._helper.pid)
            return
        try:
            pid = self._host.start(self._argv())
        except OSError as error:
            self._log(f"uplink: cannot be started: {error}", Level.WARNING)
            self._helper = helper.not_started(time.monotonic())
        else:
            self._helper = helper.started(pid, time.monotonic())

    def _record(self) -> bytes:
        return self._host.read_file(network.RECORD, LARGEST)

    def _argv(self) -> list[str]:
        how, _ = network.setting(self._host, self._options)
        program = "from nullbox.bootstrap.uplink import main; raise SystemExit(main(sys.argv[1:]))"
        return python_argv(program, network.interface_of(self._record()), how, network.RECORD)

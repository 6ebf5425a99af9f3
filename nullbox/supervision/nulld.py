"""`nulld`: the launcher. Starts the actor system and its root, tells PID 1 that it lives, ends it in order.

An edge module: signals, descriptors, the actor system. All code that actors run is imported here, before the
first fork, so that every process shares it. Exit status: 0 ended in order, 2 wrong arguments or configuration,
70 the root gave up or died (PID 1 starts the system anew, and knows when to stop doing so).
"""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path

from nullbox.actors import process
from nullbox.actors.system import System, start_system
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import Address, ExitReason, PowerCommand, Query, Reply, Start, Stop
from nullbox.supervision.discovery import discover
from nullbox.supervision.last_report import leave_report
from nullbox.supervision.root import RootSupervisor
from nullbox.supervision.settings import DRIVERS, Settings, load
from nullbox.supervision.tree import ROOT, preload, root_specs

HEARTBEAT_FD = "NULLD_HEARTBEAT_FD"
"""Environment: the number of the inherited descriptor that leads to PID 1. One "." is one sign of life, one "+" that of
a tree whose services all run; "off" or "reboot" and a newline ask for that once the system has ended."""
BEAT = 2.0
"""Seconds between two questions to the root."""
STOP_TIMEOUT = 25.0
"""Seconds for an orderly end; below what PID 1 waits (30 s) before it kills."""

EXIT_OK = 0
EXIT_USAGE = 2
EXIT_GAVE_UP = 70


class Launcher:
    """The loop of the process that owns the actor system."""

    def __init__(self, layout: Layout, beat_fd: int | None, driver: str | None = None) -> None:
        """driver: what the tree is told to use, whatever nulld.toml says; None for what that says."""
        self.layout = layout
        self.driver = driver
        self.beat_fd = beat_fd
        self.asked_to_stop = ""

    def run(self, settings: Settings) -> int:
        """Start, watch, end. Returns the exit status."""
        preload(root_specs(settings, discover(self.layout).entries.values(), self.layout))
        # What is loaded now lives as long as the processes: the collector looks at it no more, and so leaves its pages
        # shared with the forks. No collection before it: that would leave holes, and each fork would fill its own.
        gc.freeze()
        gc.enable()
        process.share_one_heap()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        system = start_system(self.layout.actors)
        try:
            root = system.spawn_root(RootSupervisor, ROOT)
            system.tell(root, Start(ROOT, 1, {"layout": self.layout.to_plain(), "driver": self.driver}, {}))
            reason = self._watch(system, root)
            if reason is None:
                reason = self._stop(system, root)
        except BaseException:
            # Not in order: that would end the VMs. The actors die with this process, and the VMs live on.
            traceback.print_exc()
            leave_report(self.layout.last_crash, f"nulld:\n{traceback.format_exc()}")
            sys.stderr.flush()
            os._exit(EXIT_GAVE_UP)
        system.shutdown()
        if reason.kind in ("normal", "shutdown"):
            return EXIT_OK
        return give_up(self.layout, f"the tree is gone: {reason.kind} {reason.detail}", EXIT_GAVE_UP)

    def _watch(self, system: System, root: Address) -> ExitReason | None:
        """Until the root ends (its reason) or we are asked to stop (None)."""
        seq, next_beat = 0, time.monotonic()
        while not self.asked_to_stop:
            now = time.monotonic()
            if now >= next_beat:
                seq += 1
                system.tell(root, Query(seq, "health", {}))
                next_beat = now + BEAT
            ended = system.wait(0.0)
            if ended is not None:
                return ended
            with contextlib.suppress(NullBoxError):  # the administrator is gone: `wait` says why
                mail = system.receive(min(0.2, max(0.0, next_beat - time.monotonic())))
                if mail is not None:
                    self._take(mail[0])
        return None

    def _take(self, message: object) -> None:
        if isinstance(message, Reply):
            self._tell_pid1(b"+" if message.value.get("healthy") else b".")
        elif isinstance(message, PowerCommand):
            self._tell_pid1(message.verb.encode() + b"\n")
            self.asked_to_stop = f"power {message.verb}"

    def _stop(self, system: System, root: Address) -> ExitReason:
        """Let the root stop its children in order."""
        system.tell(root, Stop(self.asked_to_stop))
        until = time.monotonic() + STOP_TIMEOUT
        while (left := until - time.monotonic()) > 0:
            reason = system.wait(min(left, BEAT))
            if reason is not None:
                return reason
            self._tell_pid1(b".")
        return ExitReason("timeout", f"the tree did not stop in {STOP_TIMEOUT:g} s")

    def _tell_pid1(self, data: bytes) -> None:
        """Raises BrokenPipeError when PID 1 does not listen any more: it has lost track of this process, and starts
        another, for which this one has to make room."""
        if self.beat_fd is not None:
            with contextlib.suppress(BlockingIOError):
                os.write(self.beat_fd, data)

    def _on_signal(self, number: int, _frame: object) -> None:
        self.asked_to_stop = signal.Signals(number).name


def heartbeat_fd() -> int | None:
    """The descriptor that PID 1 gave us; not for our children."""
    text = os.environ.pop(HEARTBEAT_FD, "")
    if not text.isdecimal():
        return None
    fd = int(text)
    os.set_inheritable(fd, False)
    os.set_blocking(fd, False)
    return fd


def check_driver(asked: str | None, configured: str) -> None:
    """Agents are never without isolation because of a file: the process driver has to be asked for by name, and in the
    image nobody can.

    Raises:
        NullBoxError: `denied`.
    """
    if configured == "process" and asked != "process":
        raise NullBoxError(
            ErrorCode.DENIED,
            'cage.driver is "process", which isolates nothing: it is for development on a host, with '
            "`nullbox up --driver process`, and refused everywhere else",
        )


def parse_arguments(argv: Sequence[str]) -> tuple[Layout, str | None]:
    """The roots of this instance, those of the image unless said otherwise, and the driver that was asked for."""
    if not argv:
        return Layout(), None
    import argparse

    parser = argparse.ArgumentParser("nulld", description="The actor system of NullBox.")
    default = Layout()
    parser.add_argument("--run", type=Path, default=default.run, help="volatile files (default: %(default)s)")
    parser.add_argument("--state", type=Path, default=default.state, help="lasting files (default: %(default)s)")
    parser.add_argument("--system", type=Path, default=default.system, help="what the image brings")
    parser.add_argument("--driver", choices=DRIVERS, help="how agents run (default: as nulld.toml says)")
    options = parser.parse_args(argv)
    return Layout(options.run.absolute(), options.state.absolute(), options.system.absolute()), options.driver


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point: ends the process."""
    fd = heartbeat_fd()
    layout, driver = parse_arguments(sys.argv[1:] if argv is None else argv)
    try:
        settings = load(layout.config)
        check_driver(driver, settings.driver)
    except NullBoxError as error:
        raise SystemExit(give_up(layout, f"{layout.config} is wrong:\n{error.message}", EXIT_USAGE)) from None
    try:
        code = Launcher(layout, fd, driver).run(settings)
    except NullBoxError as error:
        code = give_up(layout, error.message, EXIT_GAVE_UP)
    raise SystemExit(code)


def give_up(layout: Layout, why: str, code: int) -> int:
    """Say why, on standard error and where PID 1 finds it; returns the exit status."""
    sys.stderr.write(f"nulld: {why}\n")
    leave_report(layout.last_crash, f"nulld: {why}", after=True)
    return code

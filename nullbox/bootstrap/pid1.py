"""The loop of PID 1: wait for a signal, a heartbeat or a deadline; tell `lifecycle`; do what it says.

It reaps every process (`waitpid(-1)` belongs here and nowhere else), relays signals, restarts the actor system, pets
the watchdog while the tree is healthy, and never exits: every step is guarded, and what is left when all else fails
is the recovery hold.
"""

from __future__ import annotations

import gc
import importlib
import os
import selectors
import signal
import sys
import time
from collections.abc import Callable
from typing import Final, NoReturn

from nullbox.bootstrap import crash, ending, lasting, lifecycle
from nullbox.bootstrap.cmdline import Cmdline, parse
from nullbox.bootstrap.hold import hold_text
from nullbox.bootstrap.host import Host, LinuxHost
from nullbox.bootstrap.log import KernelLog, Level
from nullbox.bootstrap.phases import BOOT, EARLY, BootError, Log, run_phases
from nullbox.bootstrap.reaper import reap
from nullbox.bootstrap.uplink_keeper import UplinkKeeper
from nullbox.bootstrap.watchdog import Watchdog
from nullbox.protocols.layout import Layout

HEARTBEAT_ENV: Final = "NULLD_HEARTBEAT_FD"
"""The actor system's end of the pipe to us: `.` for a sign of life, `+` for one of a tree whose services all run, a
line `off` or `reboot` for a power request."""

SIGNALS: Final = {
    signal.SIGTERM: "off",
    signal.SIGINT: "reboot",  # Ctrl-Alt-Del
    signal.SIGPWR: "off",
    signal.SIGUSR2: "off",
}
"""What a signal to PID 1 asks for."""

LONGEST_WAIT: Final = 5.0
"""Seconds between two looks at the clock: bounds what a lost wake-up can cost, and paces the watchdog."""

SAVE_EVERY: Final = 3600.0
"""Seconds between two savings of clock and random seed: what a loss of power may cost of them."""


class Pid1:
    """State of the loop: the pipe to the actor system, the last decision, what was logged."""

    def __init__(
        self,
        host: Host,
        log: Log,
        options: Cmdline,
        layout: Layout,
        *,
        start: Callable[[int], int] | None = None,
        watchdog: Watchdog | None = None,
    ) -> None:
        """start: starts the actor system with its end of the pipe and returns its pid; None as in the image.
        watchdog: None for the machine's."""
        self._host = host
        self._start_nulld = start or (lambda heartbeat_fd: host.fork(lambda: nulld(heartbeat_fd), heartbeat_fd))
        self._log = log
        self._options = options
        self._layout = layout
        self._state = lifecycle.State()
        self._selector = selectors.DefaultSelector()
        self._pipe = -1
        self._line = b""
        self._again = False
        self._watchdog = watchdog or Watchdog()
        self._uplink = UplinkKeeper(host, log, options)
        self._save_at = time.monotonic() + SAVE_EVERY
        self._signals, self._signals_writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def run(self) -> NoReturn:
        """Loop for ever."""
        self._install_signals()
        self._tell(lifecycle.Boot())
        self._uplink.begin()
        while True:
            try:
                self._step()
            except Exception as error:  # PID 1 must not die of anything
                self._log(f"PID 1: {type(error).__name__}: {error}", Level.ERROR)
                self._again = True  # what woke it may be used up, and not done
                time.sleep(0.1)

    def _install_signals(self) -> None:
        self._selector.register(self._signals, selectors.EVENT_READ)
        signal.set_wakeup_fd(self._signals_writer, warn_on_full_buffer=False)
        for signum in (*SIGNALS, signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR1):
            # The handler does nothing: the wake-up descriptor carries the number into the loop.
            signal.signal(signum, lambda *_: None)

    def _step(self) -> None:
        ready = self._selector.select(self._wait())
        self._again = False
        for key, _ in ready:
            if key.fd == self._signals:
                self._read_signals()
            else:
                self._read_pipe()
        for record in reap(self._layout.exits, keep_records_of_others_than=self._state.pid):
            if record.pid == self._state.pid:
                self._tell(lifecycle.Exited(record.pid, record.describe()))
            self._uplink.exited(record.pid, record.code)
        self._tell(lifecycle.Tick())
        if self._state.mode is not lifecycle.Mode.STOPPING:
            self._uplink.tick()
        self._save()
        self._watchdog.pet(healthy=self._state.mode is lifecycle.Mode.UP and self._state.healthy)

    def _wait(self) -> float:
        if self._again:
            return 0.0
        deadlines = [due for due in (self._state.deadline, self._uplink.due) if due is not None]
        return min(max(0.0, min(deadlines) - time.monotonic()), LONGEST_WAIT) if deadlines else LONGEST_WAIT

    def _save(self) -> None:
        if time.monotonic() >= self._save_at:
            self._save_at = time.monotonic() + SAVE_EVERY
            self.save()

    def _read_signals(self) -> None:
        for number in os.read(self._signals, 512):
            ending = SIGNALS.get(signal.Signals(number))
            if ending is not None:
                self._tell(lifecycle.Power(ending))

    def _read_pipe(self) -> None:
        data = os.read(self._pipe, 4096)
        if not data:  # the last writer is gone; its exit status comes by SIGCHLD
            self._close_pipe()
            return
        if b"." in data or b"+" in data:
            self._tell(lifecycle.Heartbeat(healthy=data.rfind(b"+") > data.rfind(b".")))
        *lines, self._line = (self._line + data.translate(None, b".+")).split(b"\n")
        self._line = self._line[-64:]
        for line in lines:
            if line:
                self._tell(lifecycle.Power(line.decode(errors="replace")))

    def _tell(self, event: lifecycle.Event) -> None:
        decision = lifecycle.decide(self._state, event, time.monotonic(), self._options)
        self._state = decision.state
        for action in decision.actions:
            self._perform(action)

    def _perform(self, action: lifecycle.Action) -> None:
        match action:
            case lifecycle.Spawn():
                self._start()
            case lifecycle.Terminate(pid):
                self._host.kill(pid, signal.SIGTERM)
            case lifecycle.Kill(pid, why):
                self._log(f"killing the actor system: {why}", Level.ERROR)
                self._host.kill(pid, signal.SIGKILL)
            case lifecycle.Hold(reason):
                self.hold(reason)
            case lifecycle.End(how):
                self.end(how)
            case lifecycle.Say(text):
                self._log(text, Level.INFO)

    def hold(self, reason: str) -> None:
        """The actor system cannot be kept up. A machine stays as it is, for whoever looks: no watchdog resets it."""
        self._watchdog.release()
        show_hold(self._host, self._log, reason)

    def end(self, how: str) -> None:
        """Everything ends, the machine last."""
        ending.end(self._host, self._log, how)

    def save(self) -> None:
        """Now and then: what a loss of power should not cost."""
        lasting.save(self._host)

    def _start(self) -> None:
        try:
            pid = self._spawn()
        except Exception as error:  # whatever it was: a start that is not reported would never be tried again
            self._tell(lifecycle.SpawnFailed(f"{type(error).__name__}: {error}"))
        else:
            self._tell(lifecycle.Spawned(pid))

    def _spawn(self) -> int:
        """Start the actor system with a new pipe; its pid."""
        self._close_pipe()
        reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._pipe = reader
        self._selector.register(reader, selectors.EVENT_READ)
        try:
            return self._start_nulld(writer)
        finally:
            os.close(writer)

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            self._selector.unregister(self._pipe)
            os.close(self._pipe)
            self._pipe = -1
        self._line = b""


def nulld(heartbeat_fd: int) -> None:
    """Be the actor system, in a process made for it: none of its code is ever in PID 1."""
    gc.disable()  # while its code is loaded nothing is garbage; the launcher enables it
    os.environ[HEARTBEAT_ENV] = str(heartbeat_fd)
    importlib.import_module("nullbox.supervision.nulld").main([])


def show_hold(host: Host, log: Log, reason: str) -> None:
    """The reason, the last reports and what to do, on the console."""
    try:
        reports = crash.reports(host)
    except Exception as error:  # the hold has to be shown, whatever state the machine is in
        reports = [("no report could be read", [str(error)])]
    for line in hold_text(reason, reports):
        log(line, Level.ERROR)


def main() -> None:
    """Entry point of `/sbin/init`."""
    if os.getpid() != 1:
        sys.stderr.write(
            f"nullbox: this is the init of the NullBox image and runs only as PID 1, not as PID {os.getpid()}. "
            "To run NullBox on this machine: nullbox run (in a virtual machine).\n"
        )
        raise SystemExit(2)
    gc.freeze()  # what is loaded stays, and is not looked through
    gc.enable()
    log = KernelLog()
    host = LinuxHost()
    options = Cmdline()
    try:
        run_phases(EARLY, host, options, log, time.monotonic)
        options, complaints = parse(host.read("/proc/cmdline"))
        for complaint in complaints:
            log(f"kernel command line: {complaint}", Level.WARNING)
        run_phases(BOOT, host, options, log, time.monotonic)
        Pid1(host, log, options, Layout()).run()
    except BootError as error:
        hold_for_ever(host, log, str(error))
    except Exception as error:
        hold_for_ever(host, log, f"PID 1 failed: {type(error).__name__}: {error}")


def hold_for_ever(host: Host, log: KernelLog, reason: str) -> NoReturn:
    """The last resort when there is no loop to hold in: show the reason, reap, obey Ctrl-Alt-Del."""
    show_hold(host, log, reason)
    signal.signal(signal.SIGINT, lambda *_: ending.end(host, log, "reboot"))
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            signal.pause()
        except Exception:
            time.sleep(1.0)

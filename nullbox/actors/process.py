"""Processes of actors: fork, link to the parent, notice of the end, with its reason.

An edge module: it makes the system calls. A child is known by a pidfd (pidfd_open(2)): its end wakes the poller,
and a signal can never reach another process that got the same pid. Nothing here waits for "any child": that would
take notices away from others in the process who wait for theirs (subprocess).
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from nullbox.protocols.messages import ExitReason

PR_SET_PDEATHSIG = 1
"""prctl(2)."""
M_ARENA_MAX = -8
"""mallopt(3)."""
UNKNOWN = -1
EXIT_CRASH = 70
"""Status of an actor that ends by an unhandled exception (EX_SOFTWARE of sysexits.h)."""
EXIT_REASONED = 1
"""Status of an actor that ends with a reason other than `normal` or `shutdown`."""

SIGNALS = tuple(sorted(set(range(1, 32)) - {signal.SIGKILL, signal.SIGSTOP}))
"""The standard signals (signal(7)); nobody here uses real-time ones."""
IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)

libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True)
class Process:
    """A forked child. `status` is that of waitpid(2), `UNKNOWN` where another collected it, None while it runs."""

    pid: int
    pidfd: int
    status: int | None = None

    def send_signal(self, number: int) -> None:
        """Harmless where the process has ended."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self.pidfd, number)

    def reap(self) -> int | None:
        """Collect the status of a child that has ended; None while it runs. Never waits. `close` is the caller's."""
        if self.status is None:
            try:
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            except ChildProcessError:  # somebody waits for any child, or SIGCHLD is ignored in this process
                pid, status = self.pid, UNKNOWN
            if pid:
                self.status = status
        return self.status

    def close(self) -> None:
        if self.pidfd >= 0:
            os.close(self.pidfd)
            self.pidfd = -1


def fork(main: Callable[[], object], *, linked: bool = True) -> Process:
    """Run `main` in a new process; it ends when `main` returns.

    linked: the kernel kills the child when the thread that forked it ends, however that comes about
        (PR_SET_PDEATHSIG). It does so to a hanging or stopped child too.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _child(main, parent, linked)
    return Process(pid, os.pidfd_open(pid))


def _child(main: Callable[[], object], parent: int, linked: bool) -> NoReturn:
    status = EXIT_CRASH
    try:
        if linked:
            link_to_parent(parent)
        gc.freeze()  # what the parent made is shared memory; a collection would touch, and so copy, all of it
        default_signals()
        main()
        status = 0
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else EXIT_REASONED
    except BaseException:
        traceback.print_exc()
    end(status)


def end(status: int) -> NoReturn:
    """End this process at once: no exit handler that was inherited from the parent runs."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):
            stream.flush()
    os._exit(status)


def link_to_parent(parent: int) -> None:
    """Die with the parent. `parent` is its pid, to notice that it died before this call."""
    if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != parent:
        os._exit(EXIT_REASONED)


def default_signals() -> None:
    """Every signal does what it does by default, so that SIGSEGV really kills; but a broken pipe is an error of
    a write and a file that grows too large one too, as usual in Python."""
    for number in SIGNALS:
        wanted = signal.SIG_IGN if number in IGNORED else signal.SIG_DFL
        if signal.getsignal(number) is not wanted:
            signal.signal(number, wanted)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.set_wakeup_fd(-1)


def neutralise_descriptors(keep: Iterable[int]) -> None:
    """Point every inherited descriptor at /dev/null, but 0 to 2 and `keep`.

    A child must hold open nothing of its parent: a pipe would never report its end. They are not closed, since
    Python objects of the parent still name the numbers and would one day close whatever has them by then.
    """
    with os.scandir("/proc/self/fd") as entries:
        found = {int(entry.name) for entry in entries} - {0, 1, 2, *keep}
    null = -1
    for fd in found:
        with contextlib.suppress(OSError):  # the one that listed the directory is closed by now
            os.fstat(fd)
            if null < 0:
                null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            if fd != null:
                os.dup2(null, fd, inheritable=False)
    if null >= 0 and null not in found:
        os.close(null)


def share_one_heap() -> None:
    """All threads of this process and its children take memory from one place: each one's own would lie half empty, and
    Python runs one thread at a time anyway (mallopt(3))."""
    libc.mallopt(M_ARENA_MAX, 1)


def give_back() -> None:
    """Return to the kernel what malloc keeps of memory that was freed, as after a start (malloc_trim(3))."""
    libc.malloc_trim(ctypes.c_size_t(0))


def lead_session() -> None:
    """Leave the terminal's session, so that Ctrl-C is the launcher's alone, and dump no core: it may hold secrets."""
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def set_name(name: str) -> None:
    """What `ps` and `top` show: at most 15 bytes (proc_pid_comm(5))."""
    with contextlib.suppress(OSError), open("/proc/self/comm", "wb", buffering=0) as comm:
        comm.write(name[:15].encode())


def is_gone(pid: int) -> bool:
    """Whether this process has ended, whether or not its parent has collected it (proc_pid_stat(5))."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat[stat.rindex(b")") + 2 :][:1] in b"ZX"


def reason_from_status(status: int) -> ExitReason:
    """What a wait status (waitpid(2)) says about the end of a process that left no word."""
    if status == UNKNOWN:
        return ExitReason("exit", "ended; its status was collected by another", None)
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return ExitReason("signal", f"killed by {name}", number)
    code = os.waitstatus_to_exitcode(status)
    return ExitReason("exit", f"ended with status {code}, without a word", code)

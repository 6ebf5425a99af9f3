"""Waiting: file descriptors (epoll(7)), timers and calls from other threads, all on one thread.

An edge module: it makes the system calls. Everything that runs here runs on the thread that calls `wait`.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

MAX_CALLS = 65_536
"""Most calls from other threads that wait at once."""
LOOKS = 250
"""Where something came just now, look so often for more before going to sleep: about 150 µs. Two actors in
conversation then save being put to sleep and woken, which takes longer than their work. The kernel does the same for
network sockets (net.core.busy_poll)."""
RETRY_LOOKS = 64
"""Where looking has been in vain, and is given up, try it again every so many times."""
SEVERAL_CPUS = len(os.sched_getaffinity(0)) > 1
"""With one processor, the sender could not run while we look."""
READABLE = select.EPOLLIN
WRITABLE = select.EPOLLOUT


def looks_after(misses: int) -> int:
    """How often to look, after so many times in a row in vain: half as often each time, so that an actor that talks
    to nobody, or a machine that is busy, loses next to nothing."""
    return LOOKS >> misses if misses % RETRY_LOOKS else LOOKS


class Timer:
    """A callback that is due once. Late by the time that the actor is busy, never early."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callable[[], object]) -> None:
        self.due = due
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """It will not run. Cancelling twice, or after it ran, is harmless."""
        self.callback = None


class Poller:
    """epoll, an eventfd that wakes it, and a heap of timers."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._epoll = select.epoll()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._handlers: dict[int, Callable[[int], object]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = itertools.count()
        self._calls: deque[tuple[Callable[..., object], tuple[object, ...]]] = deque()
        self.pending = (self._timers, self._calls)
        """Where both are empty, `run_due` has nothing to do."""
        self._lively = False
        self._looks = LOOKS
        self._misses = 0
        self._thread = threading.get_ident()
        self.register(self._wake, READABLE, lambda _events: self._drain_wake())

    # --- descriptors -----------------------------------------------------------------------------------

    def register(self, fd: int, events: int, handler: Callable[[int], object]) -> None:
        """Call `handler(events)` when `fd` is ready; EPOLLHUP and EPOLLERR are always reported."""
        self._epoll.register(fd, events)
        self._handlers[fd] = handler

    def modify(self, fd: int, events: int) -> None:
        self._epoll.modify(fd, events)

    def unregister(self, fd: int) -> None:
        """Stop watching; to be called before `fd` is closed. Harmless where it is not watched."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def descriptors(self) -> list[int]:
        """The descriptors that belong to the poller itself."""
        return [self._epoll.fileno(), self._wake]

    # --- timers ----------------------------------------------------------------------------------------

    def after(self, seconds: float, callback: Callable[[], object]) -> Timer:
        timer = Timer(self._clock() + max(0.0, seconds), callback)
        heapq.heappush(self._timers, (timer.due, next(self._order), timer))
        return timer

    def run_due(self) -> bool:
        """Run the timers that are due and the calls that wait; tell whether there were any."""
        ran = False
        for _ in range(len(self._calls)):
            function, arguments = self._calls.popleft()
            function(*arguments)
            ran = True
        if self._timers:
            now = self._clock()
            while self._timers and self._timers[0][0] <= now:
                callback = heapq.heappop(self._timers)[2].callback
                if callback is not None:
                    callback()
                    ran = True
        return ran

    def _next_due(self) -> float | None:
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    # --- other threads ---------------------------------------------------------------------------------

    def on_own_thread(self) -> bool:
        return threading.get_ident() == self._thread

    def call(self, function: Callable[..., object], *arguments: object) -> bool:
        """From any thread: run `function(*arguments)` on the poller's. False where too many wait already."""
        if len(self._calls) >= MAX_CALLS:
            return False
        self._calls.append((function, arguments))
        self.wake()
        return True

    def wake(self) -> None:
        """Make `wait` return. Safe in threads and signal handlers."""
        os.eventfd_write(self._wake, 1)

    def _drain_wake(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._wake)

    # --- the wait --------------------------------------------------------------------------------------

    def wait(self, until: float | None) -> None:
        """Wait for something to do, at most until the clock shows `until`, and do what is ready."""
        due = self._next_due() if self._timers else None
        if until is not None and (due is None or until < due):
            due = until
        timeout = None if due is None else max(0.0, due - self._clock())
        if self._calls:
            timeout = 0
        poll = self._epoll.poll
        ready: list[tuple[int, int]] = []
        if self._lively and timeout != 0:
            for _ in range(self._looks):
                if ready := poll(0):
                    break
            self._misses = 0 if ready else self._misses + 1
            self._looks = looks_after(self._misses)
        ready = ready or poll(timeout)
        self._lively = bool(ready) and SEVERAL_CPUS
        for fd, events in ready:
            handler = self._handlers.get(fd)  # a handler of this round may have unregistered it
            if handler is not None:
                handler(events)

    def close(self) -> None:
        """Close own descriptors (not the registered ones), so that a forked child shares none of them."""
        self._handlers.clear()
        self._timers.clear()
        self._calls.clear()
        self._epoll.close()
        if self._wake >= 0:
            os.close(self._wake)
            self._wake = -1

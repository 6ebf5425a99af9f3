"""Group commit: many clients' writes, one thread, few syncs. Effects: one thread; it and `at_once` share the Store.

While a group is being synced the next one gathers. A group is taken as soon as it is as large as the last one was
(then every client that was waiting has come back), or half full, or has waited as long as a commit takes, at most 5 ms:
so a lone client never waits for company, and sixteen clients share a sync instead of queueing for it.

Who knows that nobody else is waiting may commit in his own thread instead (`at_once`): two changes of threads cost as
much as a sync on a fast disk.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from nullbox.ctxgraph.batch import Op
from nullbox.ctxgraph.company import Pace
from nullbox.ctxgraph.store import GROUP, Outcome, Store
from nullbox.protocols.errors import ErrorCode, NullBoxError

log = logging.getLogger(__name__)

MAX_WAIT_S = 0.005
SLOW_S = 2 * MAX_WAIT_S
"""A commit that takes longer is worth a full group. Otherwise half of one is better: what it takes to answer and to
read the next requests is then done while the other half is synced."""
MAX_PENDING = 4096
"""Writes that may wait for the disk; more are refused, so that memory stays bounded."""
INDEX_LAG = 1024
"""Records that may wait for the full-text index; searching catches up by itself."""
INDEX_STEP = 256
AWAKE = MAX_PENDING + 1
"""In the place of the number of operations that the thread waits for: it is at work, and looks by itself."""
TTL_LOOK_S = 0.5

Done = tuple[Any, Outcome]
Deliver = Callable[[Sequence[Done]], None]


class GroupWriter:
    """Feeds a Store from any thread.

    deliver: called in the writer's thread once for each group, with (token, outcome) of its operations in order.
        When it is called, all of them are durable or refused.
    on_death: called in the writer's thread when an exception ends it; whoever waits is told as well. It then goes on to
        `threading.excepthook`: in an actor that is the actor's crash.
    """

    def __init__(
        self, store: Store, deliver: Deliver, on_death: Callable[[NullBoxError], None] = lambda _error: None
    ) -> None:
        self.store = store
        self.dead: NullBoxError | None = None
        self._deliver = deliver
        self._on_death = on_death
        self._queue: deque[tuple[Op, Any]] = deque()
        self._group: list[tuple[Op, Any]] = []
        self._chores: deque[Callable[[], None]] = deque()
        self._wake = threading.Event()
        self._wanted = AWAKE
        self._turn = threading.Lock()
        self._pace = Pace()
        self._crash: Exception | None = None
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="ctxgraph-writer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def at_once(self, op: Op) -> Outcome | None:
        """Commit in the calling thread, if commits are quick here and nothing else is under way. None: `submit` it.

        Not for two threads at the same time.

        Raises:
            NullBoxError: `unavailable`: dead.
        """
        if not self._pace.quick or self._queue or self._chores or self._stopping or self.dead is not None:
            return None
        if not self._turn.acquire(blocking=False):
            return None
        try:
            return self._apply([op])[0]
        except Exception as error:
            self._crash = error
            self._wake.set()
            raise self._die(error) from error
        finally:
            self._turn.release()

    def submit(self, op: Op, token: Any) -> None:
        """Queue an operation; `deliver` gets the token back with its outcome.

        Raises:
            NullBoxError: `unavailable`: stopped, dead, or too many are waiting.
        """
        if self.dead is not None:
            raise self.dead
        if self._stopping or len(self._queue) >= MAX_PENDING:
            why = "the store is closing" if self._stopping else f"{MAX_PENDING} writes wait for the disk"
            raise NullBoxError(ErrorCode.UNAVAILABLE, f"{why}; try again later")
        self._queue.append((op, token))
        if len(self._queue) >= self._wanted:
            self._wanted = AWAKE
            self._wake.set()

    def run(self, chore: Callable[[], None]) -> None:
        """Have `chore` called in the writer's thread between two groups, which may use the store.

        Raises:
            NullBoxError: `unavailable`: dead.
        """
        if self.dead is not None:
            raise self.dead
        self._chores.append(chore)
        self._wake.set()

    def stop(self, timeout: float = 10.0) -> bool:
        """Finish what is queued, then end the thread; False if it did not end in time. The store stays open."""
        self._stopping = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            dead = self._die(error)
            self._on_death(dead)
            with contextlib.suppress(Exception):  # it may be `deliver` that failed
                self._deliver([(token, dead) for _, token in (*self._group, *self._queue)])
            raise

    def _die(self, error: BaseException) -> NullBoxError:
        what = f"the store's writer has died: {type(error).__name__}: {error}"
        self.dead = NullBoxError(ErrorCode.UNAVAILABLE, what)
        return self.dead

    def _apply(self, ops: list[Op]) -> list[Outcome]:
        """Commit a group. To be called by who has the turn."""
        started = time.monotonic()
        outcomes = self.store.apply(ops)
        self._pace.note(time.monotonic() - started)
        return outcomes

    def _work(self) -> None:
        wait = 0.0
        size = 1
        looked = time.monotonic()
        while True:
            size = self._gather(size, wait)
            group = self._group = [self._queue.popleft() for _ in range(min(GROUP, len(self._queue)))]
            started = time.monotonic()
            if group:
                with self._turn:
                    outcomes = self._apply([op for op, _ in group])
                self._group = []
                self._deliver([(token, out) for (_, token), out in zip(group, outcomes, strict=True)])
                took = time.monotonic() - started
                wait = min(MAX_WAIT_S, took)
                size = len(group) if took > SLOW_S else min(len(group), GROUP // 2)
            if self._crash is not None:
                raise self._crash
            while self._chores:
                with self._turn:
                    self._guarded(self._chores.popleft())
            if started - looked >= TTL_LOOK_S or not group:
                looked = started
                with self._turn:
                    self._guarded(self._housekeep)
            if self._stopping and not self._queue:
                return

    def _gather(self, wanted: int, wait: float) -> int:
        """Sleep until a group is worth taking; returns what the last group's size was, for an idle round."""
        if not self._queue:
            self._sleep(1, TTL_LOOK_S)
        if self._queue and wait and not self._chores:
            self._sleep(wanted, wait)
        return wanted

    def _sleep(self, wanted: int, seconds: float) -> None:
        """Until so many operations are queued, or there is something else to do, or the time is over.

        `submit` appends and then looks at `_wanted`; this sets it and then looks at the queue: one of them sees the
        other.
        """
        self._wake.clear()
        self._wanted = wanted
        if len(self._queue) < wanted and not (self._chores or self._stopping or self._crash):
            self._wake.wait(seconds)
        self._wanted = AWAKE

    def _housekeep(self) -> None:
        """Record what expired; let the full-text index catch up when it is far behind."""
        if self.store.failed is not None:
            return
        due = self.store.due()
        if due:
            outcomes = self.store.apply(due)
            self._deliver([(None, out) for out in outcomes])
        if self.store.size - self.store.searchable >= INDEX_LAG:
            self.store.index(INDEX_STEP)

    def _guarded(self, chore: Callable[[], None]) -> None:
        try:
            chore()
        except Exception:
            log.exception("a chore of the store failed")

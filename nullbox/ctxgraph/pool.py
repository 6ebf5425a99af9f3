"""Readers in threads, with turns: one agent's queries wait for each other, not for anyone else's. Effects: threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import LifoQueue
from typing import TypeVar

from nullbox.ctxgraph.access import Rights
from nullbox.ctxgraph.reader import Reader

T = TypeVar("T")

QUERIES_PER_AGENT = 1
QUERIES_OF_HOST = 2
"""Queries of one caller that run at a time in a pool."""


class ReaderPool:
    """`threads` threads, each working with a reader of its own, made when there is something to read with it.
    Use it in one loop.

    seconds: how long one query may take; then it fails with `timeout`.
    """

    def __init__(self, path: Path, name: str, threads: int, seconds: float) -> None:
        self._make = partial(Reader, path, cache_kib=2048, seconds=seconds)
        self._all: list[Reader] = []
        self._free: LifoQueue[Reader | None] = LifoQueue()
        for _ in range(threads):
            self._free.put(None)  # one to be made
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=f"ctxgraph-{name}")
        self._turns: dict[str, asyncio.Semaphore] = {}

    async def run(self, rights: Rights, work: Callable[[Reader], T]) -> T:
        """Have `work` done in a thread, when it is this caller's turn and a thread is free."""
        turn = self._turns.get(rights.agent_id)
        if turn is None:
            count = QUERIES_OF_HOST if rights.whole_log else QUERIES_PER_AGENT
            turn = self._turns[rights.agent_id] = asyncio.Semaphore(count)
        async with turn:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._borrow, work)

    async def close(self) -> None:
        """Wait for what runs, then close the readers."""
        await asyncio.to_thread(self._threads.shutdown, cancel_futures=True)
        for reader in self._all:
            reader.close()

    def _borrow(self, work: Callable[[Reader], T]) -> T:
        reader = self._free.get()
        try:
            if reader is None:
                reader = self._make()
                self._all.append(reader)
            return work(reader)
        finally:
            self._free.put(reader)

"""Follow the log: a stream that resumes at any `seq`, skips nothing and doubles nothing. Effects: reads by threads.

A watcher holds only a cursor. What it sends is read from the log in steps, so a slow or late watcher costs no
memory, and it makes no difference whether a record is old or new. The stream is pulled by the connection only
while its peer takes the output.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Any

from nullbox.ctxgraph.access import Rights
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.reader import Page, Reader
from nullbox.protocols.errors import ErrorCode, NullBoxError

STEP = 256
"""Most records that are looked at or read at once."""
MAX_LAG = 20_000
"""A watcher that had caught up and then falls so many records behind is too slow, and is told where to resume."""

WithReader = Callable[[Rights, Callable[[Reader], Page]], Awaitable[Page]]


class Watches:
    """All watchers of one store. `advance` is called in the loop after each group of writes."""

    def __init__(self, head: int, with_reader: WithReader) -> None:
        self.head = head
        self._with_reader = with_reader
        self._news = asyncio.Event()
        self._closed = False

    def advance(self, head: int) -> None:
        """Records up to `head` are durable."""
        self.head = max(self.head, head)
        self._tell()

    def close(self) -> None:
        """End all streams with `unavailable`."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def follow(self, rights: Rights, prefixes: Sequence[str], since: int) -> AsyncIterator[dict[str, Any]]:
        """Every record after `since` whose key begins with one of `prefixes`, as JSON, without end.

        Raises:
            NullBoxError: `unavailable` with `data.resume`: the peer is too slow, or the store closes. Watching
                again with `since` = resume loses nothing.
        """
        cursor, live = since, False
        while not self._closed:
            head, news = self.head, self._news
            if cursor >= head:
                live = True
                await news.wait()
                continue
            if live and head - cursor > MAX_LAG:
                message = f"this watcher is {head - cursor} records behind; watch again from {cursor}"
                raise NullBoxError(ErrorCode.UNAVAILABLE, message, {"resume": cursor})
            window = Window(cursor, min(head, cursor + STEP) + 1)
            page = await self._with_reader(rights, lambda reader, w=window: reader.query(prefixes, w, STEP, kinds=4))  # type: ignore[misc]
            for entry in page.entries:
                yield entry.to_json()
                cursor = entry.seq
            cursor = window.before - 1 if page.next is None else cursor
        message = f"the store is closing; watch again from {cursor}"
        raise NullBoxError(ErrorCode.UNAVAILABLE, message, {"resume": cursor})

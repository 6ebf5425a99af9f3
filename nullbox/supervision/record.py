"""The recent past of a tree: a bounded list of what happened, for `nullctl events`. In memory only."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from itertools import islice
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError

CAPACITY = 2000
MAX_LIMIT = 2000


class EventLog:
    """The last `capacity` events, each a plain mapping with a sequence number that never repeats.

    seq (from 1), ts (seconds since the epoch), kind, child (its id, empty for the supervisor itself), path (in
    the tree: `nulld/cage:pulse`), and what the kind adds.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.events: deque[dict[str, Any]] = deque(maxlen=capacity)
        self.last_seq = 0

    def add(self, ts: float, kind: str, path: str, child: str, detail: Mapping[str, Any]) -> dict[str, Any]:
        self.last_seq += 1
        event = {
            **detail,
            "seq": self.last_seq,
            "ts": ts,
            "kind": kind,
            "child": child,
            "path": path,
        }
        self.events.append(event)
        return event

    def since(self, seq: int, limit: int = 500) -> dict[str, Any]:
        """Events after `seq`, at most `limit`, oldest first.

        Returns:
            `events`; `last_seq`, the newest there is; `lost`, how many of those asked for are forgotten.
        """
        oldest = self.events[0]["seq"] if self.events else self.last_seq + 1
        first = max(seq + 1, oldest)
        found = list(islice(self.events, first - oldest, first - oldest + limit))
        return {"events": found, "last_seq": self.last_seq, "lost": max(0, min(oldest, self.last_seq + 1) - seq - 1)}

    def query(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """`since`, for parameters from outside.

        Raises:
            NullBoxError: `invalid`.
        """
        since, limit = params.get("since", 0), params.get("limit", 500)
        for name, value in (("since", since), ("limit", limit)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 0:
                raise NullBoxError(ErrorCode.INVALID, f"{name} is {value!r}; allowed: a whole number from 0")
        return self.since(since, min(limit, MAX_LIMIT))

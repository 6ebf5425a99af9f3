"""What agents were denied, counted and bounded, for the operator's journal. Pure; time is an argument."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import asdict, dataclass, replace
from typing import Any

MAX_DENIALS = 64
MAX_NAME = 200


@dataclass(frozen=True, slots=True)
class Denial:
    """Something an agent was refused. The members are those of egress' denials, as far as they apply.

    kind: `ctxgraph` and the method. name: the key, prefix or hash it was about.
    count: how often since the first time. last: of the last time, a Unix time in seconds.
    """

    agent: str
    kind: str
    name: str
    reason: str
    count: int
    last: float
    seq: int


class Denials:
    """The latest ones; equal ones are one with a count. The oldest go first."""

    def __init__(self) -> None:
        self._entries: OrderedDict[tuple[str, str, str], Denial] = OrderedDict()
        self._seq = 0

    def add(self, agent: str, method: str, params: dict[str, Any], reason: str, now: float) -> None:
        """Put one on record."""
        about = next((params[name] for name in ("key", "prefix", "hash") if name in params), "")
        kind, name = f"ctxgraph {method}", str(about)[:MAX_NAME]
        self._seq += 1
        old = self._entries.pop((agent, kind, name), None)
        fresh = Denial(agent, kind, name, reason, 1, now, self._seq)
        self._entries[agent, kind, name] = replace(fresh, count=old.count + 1) if old else fresh
        while len(self._entries) > MAX_DENIALS:
            self._entries.popitem(last=False)

    def since(self, seq: int = 0) -> list[dict[str, Any]]:
        """Those that changed after `seq`, oldest change first, as plain data."""
        return [asdict(one) for one in self._entries.values() if one.seq > seq]

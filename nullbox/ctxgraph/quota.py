"""How much one agent may write: bytes, records, records a second. Pure; time is an argument."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from nullbox.protocols.errors import ErrorCode, NullBoxError

RECORD_OVERHEAD = 160
"""Bytes charged for a record beside its texts: log row, indexes, hash, share of the tree."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Quota of one agent. `None` in the place of the whole means no quota (the operator).

    entries: records of the log. size: bytes of keys and values as charged by `charge`.
    rate: writes a second, sustained; burst: writes that may come at once after a pause.
    """

    entries: int = 2_000_000
    size: int = 512 * 1024 * 1024
    rate: float = 2_000.0
    burst: int = 4_000


class Usage(NamedTuple):
    """What an agent has written so far, charged the same way."""

    entries: int = 0
    size: int = 0

    def plus(self, size: int) -> Usage:
        return Usage(self.entries + 1, self.size + size)


def charge(agent_id: str, key: str, new_text: bytes | None) -> int:
    """Bytes that one record costs; `new_text` is None when the object was stored before."""
    return RECORD_OVERHEAD + 2 * (len(agent_id) + len(key.encode())) + (len(new_text) if new_text else 0)


def check(agent_id: str, usage: Usage, limits: Limits) -> None:
    """Raises NullBoxError `denied` when `usage`, the write in question included, is over a limit."""
    for name, found, limit in (
        ("entries", usage.entries, limits.entries),
        ("bytes", usage.size, limits.size),
    ):
        if found > limit:
            message = (
                f"agent {agent_id!r} would hold {found} {name} with this write; its quota is {limit} {name}. "
                "The operator can raise it"
            )
            raise NullBoxError(ErrorCode.DENIED, message, {"quota": name, "limit": limit, "found": found})


class TokenBucket:
    """Rate of writes: `rate` tokens a second, at most `burst` saved up."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: int, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = float(burst)
        self._at = now

    def take(self, agent_id: str, now: float) -> None:
        """Take one token at `now` (seconds, monotonic).

        Raises:
            NullBoxError: `denied`, none is left; `data.retry_after_s` says when one will be.
        """
        self._tokens = min(float(self.burst), self._tokens + max(0.0, now - self._at) * self.rate)
        self._at = max(self._at, now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return
        wait = (1.0 - self._tokens) / self.rate
        message = f"agent {agent_id!r} writes faster than {self.rate:g} a second; try again in {wait:.4f} s"
        data = {"quota": "writes_per_second", "limit": self.rate, "retry_after_s": round(wait, 4)}
        raise NullBoxError(ErrorCode.DENIED, message, data)

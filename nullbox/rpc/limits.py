"""What one client may use before it is refused, and the bucket that measures a rate. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from nullbox.protocols.framing import MAX_LINE


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a server. Times are in seconds.

    connections, connections_per_uid: open at one time.
    line: bytes of one message, in either direction.
    in_flight: requests of one connection that have no answer yet; members of a batch count one each.
    subscriptions: open streams of one connection.
    rate, burst: requests a second of one connection, and how many may come at once after a rest.
    fault_rate, fault_burst: the same for what is refused or is nonsense; beyond it the connection is lost.
    deadline: for a request that has none of its own.
    idle: a connection with nothing under way is closed after this; None: never.
    stall: a line that stays unfinished, or output that the peer does not take, ends the connection after this.
    """

    connections: int = 512
    connections_per_uid: int = 256
    line: int = MAX_LINE
    in_flight: int = 64
    subscriptions: int = 16
    rate: float = 10_000.0
    burst: float = 20_000.0
    fault_rate: float = 10.0
    fault_burst: float = 100.0
    deadline: float = 10.0
    idle: float | None = 600.0
    stall: float = 30.0


class TokenBucket:
    """Token bucket: `rate` tokens a second, at most `burst` saved up. Time is given, never read."""

    __slots__ = ("_at", "_tokens", "burst", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate = rate
        self.burst = burst
        self._tokens = burst
        self._at = now

    def take(self, now: float, count: float = 1.0) -> bool:
        """Take `count` tokens if they are there; False, taking none, if not."""
        if now > self._at:
            self._tokens = min(self.burst, self._tokens + (now - self._at) * self.rate)
            self._at = now
        if self._tokens < count:
            return False
        self._tokens -= count
        return True

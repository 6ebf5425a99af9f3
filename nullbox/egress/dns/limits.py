"""Caps on what a tunnel through names would need: questions that leave the machine, and octets in them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Bucket:
    """A token bucket: `burst` at once, `rate` a second in the long run. Time is passed in, monotonic seconds."""

    rate: float
    burst: float
    level: float = field(default=-1.0)
    at: float = 0.0

    def take(self, amount: float, now: float) -> bool:
        """Take `amount` if it is there; take nothing otherwise."""
        if self.level < 0:
            self.level, self.at = self.burst, now
        self.level = min(self.burst, self.level + max(0.0, now - self.at) * self.rate)
        self.at = now
        if amount > self.level:
            return False
        self.level -= amount
        return True


@dataclass(slots=True)
class Limits:
    """One agent's caps. Cached answers cost nothing: they carry nothing out.

    questions: forwarded a second.
    octets: chosen by the agent (the label under a wildcard) and forwarded, a minute.
    """

    questions: Bucket = field(default_factory=lambda: Bucket(20, 100))
    octets: Bucket = field(default_factory=lambda: Bucket(2048 / 60, 2048))

    def forward(self, starred: int, now: float) -> str | None:
        """Account for one forwarded question; why it may not be, or None."""
        if not self.questions.take(1, now):
            return f"more than {self.questions.rate:.0f} uncached names a second"
        if starred and not self.octets.take(starred, now):
            return f"more than {self.octets.rate * 60:.0f} octets of chosen labels a minute"
        return None

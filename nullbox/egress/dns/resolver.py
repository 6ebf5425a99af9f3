"""One agent's resolver: judge, ask, follow, filter, open, answer. No socket in here; asking and opening are passed in.

The order at the end is the promise: the kernel has let the addresses in before the agent is told of them, so no first
connection is ever refused for being quick.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from math import floor
from typing import Protocol

from nullbox.egress.addresses import AddressRules
from nullbox.egress.dns.cache import Cache, Entry
from nullbox.egress.dns.chain import Loop, Told, Walk, follow, tell
from nullbox.egress.dns.decide import Kind, Verdict, decide
from nullbox.egress.dns.limits import Limits
from nullbox.egress.dns.wire import Malformed, Query, Rcode, UpstreamAnswer, error_to, pack, parse_query, reply
from nullbox.egress.policy import Grant
from nullbox.protocols.errors import NullBoxError

NEGATIVE_TTL = 30
"""Seconds that a name without addresses is remembered, at most (RFC 2308, 5 allows more)."""
MAX_WAITING = 64
"""Questions of one agent that wait for upstream at the same time."""


MAX_HOT = 1024
"""Packed answers that are kept, of one agent."""
HOT_S = 0.4
"""Seconds that a packed answer is given again without another look. Less than `pins.TOLERANCE_S`: within it, the kernel
would not be asked to keep the addresses open any longer either."""


@dataclass(frozen=True, slots=True)
class _Hot:
    """A packed answer without its id, for the very same question. It is told as it is until `until`."""

    until: float
    tail: bytes


class Report(Protocol):
    """Where denials go: what kind, the name, an address if there is one, and the reason."""

    def __call__(self, kind: str, name: str, address: str, detail: str) -> None: ...


class AgentResolver:
    """Answers one agent's questions.

    Args:
        ask: resolve the A records of a name upstream. Raises NullBoxError if no upstream answers.
        pin: open addresses for this agent under that name for so many seconds; returns once the kernel has them.
            Raises NullBoxError if it has not.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        grants: Sequence[Grant],
        rules: AddressRules,
        *,
        ask: Callable[[str], Awaitable[UpstreamAnswer]],
        pin: Callable[[str, tuple[str, ...], float], None],
        report: Report,
        clock: Callable[[], float],
        learn: bool = False,
    ) -> None:
        self._grants = tuple(grants)
        self._rules = rules
        self._ask = ask
        self._pin = pin
        self._report = report
        self._clock = clock
        self._learn = learn
        self._cache = Cache()
        self._limits = Limits()
        self._waiting: dict[str, asyncio.Task[Entry]] = {}
        self._hot: dict[tuple[bytes, bool], _Hot] = {}

    def regrant(self, grants: Sequence[Grant], *, learn: bool = False) -> None:
        """The manifest changed: judge by the new grants, remember no old answer."""
        self._grants, self._learn = tuple(grants), learn
        self.forget()

    def forget(self) -> int:
        """Drop cached answers; how many there were."""
        count = len(self._cache.entries)
        self._cache.clear()
        self._hot.clear()
        return count

    def at_once(self, data: bytes, *, udp: bool) -> bytes | Query | None:
        """Answer what needs no waiting: refusals and cached answers.

        Returns:
            The answer; or the question, if it has to be asked upstream (`later`); or None for what deserves no answer.
        """
        key = (data[2:], udp)
        hot = self._hot.get(key)
        if hot is not None:
            if self._clock() < hot.until:
                return data[:2] + hot.tail
            del self._hot[key]
        try:
            query = parse_query(data)
        except Malformed:
            return error_to(data, Rcode.FORMERR)
        verdict = decide(query, self._grants, learn=self._learn)
        if verdict.kind is not Kind.ASK:
            if verdict.kind is not Kind.NO_DATA:
                self._report(verdict.kind, query.name, "", "no grant covers this name; nothing was forwarded")
            return self._pack(query, verdict.rcode, (), 0, udp)
        entry = self._cache.get(query.name, self._clock())
        if entry is None:
            return query
        now = self._clock()
        answer = self._settle(query, entry, udp)
        if entry.addresses and answer[3] & 0xF == Rcode.NOERROR:
            if len(self._hot) >= MAX_HOT:
                self._hot.clear()
            self._hot[key] = _Hot(min(now + HOT_S, entry.until), answer[2:])
        return answer

    async def later(self, query: Query, *, udp: bool) -> bytes:
        """Ask upstream and answer; questions for one name at one time are asked once."""
        task = self._waiting.get(query.name)
        if task is None:
            verdict = decide(query, self._grants, learn=self._learn)
            refusal = self._refusal(verdict)
            if refusal is not None:
                self._report("rate", query.name, "", refusal)
                return self._pack(query, Rcode.REFUSED, (), 0, udp)
            task = asyncio.ensure_future(self._resolve(query.name))
            self._waiting[query.name] = task
            task.add_done_callback(lambda _: self._waiting.pop(query.name, None))
        return self._settle(query, await asyncio.shield(task), udp)

    def _refusal(self, verdict: Verdict) -> str | None:
        if verdict.kind is not Kind.ASK:
            return "the grant was revoked meanwhile"
        if len(self._waiting) >= MAX_WAITING:
            return f"more than {MAX_WAITING} names are being asked for"
        return self._limits.forward(verdict.starred, self._clock())

    def _settle(self, query: Query, entry: Entry, udp: bool) -> bytes:
        """Answer from a settled entry, after making sure that its addresses stay open for as long as is told."""
        if not entry.addresses:
            return self._pack(query, entry.rcode, (), 0, udp)
        ttl = max(0, floor(entry.until - self._clock()))
        if not self._opened(query.name, entry, ttl):
            return self._pack(query, Rcode.SERVFAIL, (), 0, udp)
        return self._pack(query, entry.rcode, entry.addresses, ttl, udp)

    def _opened(self, name: str, entry: Entry, ttl: int) -> bool:
        """Have the kernel let the addresses in for at least `ttl` seconds; whether it does."""
        try:
            self._pin(name, entry.addresses, ttl)
        except NullBoxError as error:
            self._report("not opened", name, "", error.message)
            return False
        return True

    async def _resolve(self, name: str) -> Entry:
        try:
            told, rcode, negative = await self._walk(name)
        except (NullBoxError, Loop) as error:
            self._report("upstream", name, "", str(error))
            return Entry(Rcode.SERVFAIL, (), self._clock())
        for address, why in told.denied:
            self._report("rebinding", name, address, why)
        now = self._clock()
        if not told.addresses:
            entry = Entry(rcode, (), now + negative)
        else:
            entry = Entry(Rcode.NOERROR, told.addresses, now + told.ttl)
        if rcode in (Rcode.NOERROR, Rcode.NXDOMAIN):
            self._cache.put(name, entry)
        return entry

    async def _walk(self, name: str) -> tuple[Told, Rcode, int]:
        """Ask for the name, and for the end of its aliases if upstream did not go there by itself."""
        walk = Walk(name)
        while True:
            asked = walk.at
            answer = await self._ask(asked)
            if answer.rcode not in (Rcode.NOERROR, Rcode.NXDOMAIN):
                return Told((), 0), Rcode.SERVFAIL, 0
            walk = follow(walk, answer.records)
            if walk.addresses or walk.at == asked or answer.rcode == Rcode.NXDOMAIN:
                negative = NEGATIVE_TTL if answer.negative_ttl is None else min(NEGATIVE_TTL, answer.negative_ttl)
                return tell(walk, self._rules.denied), Rcode(answer.rcode), negative

    @staticmethod
    def _pack(query: Query, rcode: Rcode, addresses: tuple[str, ...], ttl: int, udp: bool) -> bytes:
        return pack(reply(query, rcode, addresses, ttl), query.limit if udp else None)

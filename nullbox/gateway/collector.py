"""Brings the supervisors' events into the journal, each once, across restarts of either side."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from nullbox.gateway import machine
from nullbox.gateway.backend import CTXGRAPH, EGRESS, ROOT, Backend
from nullbox.gateway.denials import Denial, DenialFilter, detail
from nullbox.gateway.journal import Journal
from nullbox.protocols.errors import NullBoxError
from nullbox.protocols.messages import Query

PERIOD = 2.0
"""Seconds between two looks while nobody follows the events. An idle machine should be idle: under software
emulation each question costs two orders of magnitude more than here."""
PERIOD_WATCHED = 0.5
DENIALS_PERIOD = 5.0
PATIENCE = 10.0
BATCH = 500
OWN = frozenset({"seq", "ts", "kind", "child"})

log = logging.getLogger(__name__)

Identify = Callable[[], Awaitable[str]]


class Collector:
    """Fetches events from the root supervisor. `identify` names its incarnation: a new one counts from 1 again.

    It is asked once, and again when the numbers went back: a gateway does not outlive its root.
    """

    def __init__(self, backend: Backend, journal: Journal, identify: Identify) -> None:
        self._backend = backend
        self._journal = journal
        self._identify = identify
        self._source = ""
        self._lock = asyncio.Lock()

    async def run(self) -> None:
        """For ever, now and then; more often while somebody waits for events."""
        while True:
            await self.refresh(PATIENCE)
            await asyncio.sleep(PERIOD_WATCHED if self._journal.watched else PERIOD)

    async def refresh(self, seconds: float) -> None:
        """Fetch what is new, within that time; a root that does not answer is asked again later."""
        try:
            async with asyncio.timeout(seconds), self._lock:
                self._source = self._source or await self._identify()
                if not await collect_once(self._backend, self._journal, self._source):
                    self._source = ""
        except (TimeoutError, NullBoxError) as error:
            log.debug("no events from the root now: %s", error)


async def collect_denials(backend: Backend, journal: Journal, period: float = DENIALS_PERIOD) -> None:
    """Run for ever: what egress and ctxgraph denied goes on record as `denied`, each thing once a minute."""
    events = journal.since(0, journal.last_seq)["events"]
    chosen = DenialFilter(max((event["ts"] for event in events if event["kind"] == "denied"), default=0.0))
    while True:
        for source in (EGRESS, CTXGRAPH):
            try:
                async with asyncio.timeout(PATIENCE):
                    denials = await backend.ask(source, Query(0, "log", {"since": 0, "agent": None}))
                record_denials(journal, denials, chosen)
            except (TimeoutError, NullBoxError) as error:
                log.debug("no denials from %s now: %s", source, error)
        await asyncio.sleep(period)


def record_denials(journal: Journal, denials: Iterable[Denial], chosen: DenialFilter) -> None:
    """Put those that the filter keeps on record, by the time of their last repetition."""
    for denial in denials:
        if chosen.keep(denial):
            journal.add("denied", f"cage:{denial['agent']}", ts=denial["last"], **detail(denial))


def record_boot(journal: Journal, kernel_crash: str | None = None) -> None:
    """Put this boot on record, once, however often the gateway is started in it.

    kernel_crash: the last words of the kernel of the boot before, if that is how it ended.
    """
    boot = machine.boot_id()
    events = journal.since(0, journal.last_seq)["events"]
    last = next((event for event in reversed(events) if event["kind"] == "boot"), None)
    if last is None or last.get("boot_id") != boot:
        crash: dict[str, Any] = {} if kernel_crash is None else {"kernel_crash": kernel_crash}
        journal.add("boot", boot_id=boot, **machine.versions(), **crash)


async def collect_once(backend: Backend, journal: Journal, source: str) -> bool:
    """Fetch what the source has and the journal has not. False: these are not the numbers of that source."""
    known, seen = journal.origin
    if known != source:
        seen = 0
    while True:
        answer = await backend.ask(ROOT, Query(0, "events", {"since": seen, "limit": BATCH}))
        if answer["last_seq"] < seen:
            return False
        if answer["lost"] and seen:
            journal.add("lost", count=answer["lost"], why="events that came faster than they were collected")
        for event in answer["events"]:
            seen = event["seq"]
            _record(journal, event, (source, seen))
        if len(answer["events"]) < BATCH:
            return True


def _record(journal: Journal, event: dict[str, Any], origin: tuple[str, int]) -> None:
    more = {name: value for name, value in event.items() if name not in OWN}
    journal.add(event["kind"], event["child"], ts=event["ts"], origin=origin, **more)

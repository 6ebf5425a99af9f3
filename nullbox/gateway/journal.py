"""The journal: what happened, numbered, bounded, kept across restarts. Effects: appends to one file.

One JSON text a line. The number grows by one for each event and never comes again, so that a reader that was away
knows whether it missed something. What a crash of the gateway or an orderly reboot leaves is whole; after a loss of
power the last second may be missing. A torn last line is dropped on the way in.

`origin` is where an event was collected: the source's name (one incarnation of a supervisor) and its number there.
It is how a restarted gateway knows where to go on.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections import deque
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

KEEP = 5000
"""Events that are kept; the file holds up to twice as many lines before it is written anew."""
SYNC_PERIOD = 1.0
"""Seconds between two looks at whether there is something that the disk has not been asked to keep."""
LONGEST_TEXT = 4096
"""Characters of one text in an event (a traceback); its end is what is kept, since that is what it says."""

log = logging.getLogger(__name__)


class Journal:
    """See the module. `path` None keeps it in memory alone. Belongs to one event loop once `wait` is used."""

    def __init__(self, path: Path | None, keep: int = KEEP) -> None:
        self._path = path
        self._keep = keep
        self._events: deque[dict[str, Any]] = deque(maxlen=keep)
        self._lines = 0
        self._descriptor = -1
        self._torn = False
        self._failing = False
        self._synced = True
        self._more: asyncio.Event | None = None
        self._waiting = 0
        self.last_seq = 0
        self.origin: tuple[str, int] = ("", 0)
        if path is not None:
            self._open(path)

    # --- reading --------------------------------------------------------------------------------------------

    def since(self, seq: int, limit: int = 500) -> dict[str, Any]:
        """Events after number `seq`, oldest first, at most `limit`.

        Returns:
            `events`; `last_seq`, the newest there is; `lost`, how many of those asked for are no longer kept.
        """
        oldest = self._events[0]["seq"] if self._events else self.last_seq + 1
        skip = max(0, seq + 1 - oldest)
        lost = max(0, min(oldest, self.last_seq + 1) - seq - 1)
        return {"events": list(islice(self._events, skip, skip + limit)), "last_seq": self.last_seq, "lost": lost}

    @property
    def watched(self) -> bool:
        """Whether somebody waits for the next event."""
        return self._waiting > 0

    async def wait(self, seq: int) -> None:
        """Return once there is an event after number `seq`."""
        self._waiting += 1
        try:
            while self.last_seq <= seq:
                if self._more is None:
                    self._more = asyncio.Event()
                await self._more.wait()
        finally:
            self._waiting -= 1

    # --- writing --------------------------------------------------------------------------------------------

    def add(
        self,
        kind: str,
        child: str = "",
        *,
        ts: float | None = None,
        origin: tuple[str, int] | None = None,
        **detail: Any,
    ) -> dict[str, Any]:
        """Record an event. A file that cannot be written to costs the persistence of this event, not the event."""
        event = {
            "seq": self.last_seq + 1,
            "ts": time.time() if ts is None else ts,
            "kind": kind,
            "child": child,
            **{name: _bounded(value) for name, value in detail.items() if name != "seq"},
        }
        self.last_seq += 1
        self.origin = origin or self.origin
        self._events.append(event)
        self._append(event, origin)
        if self._more is not None:
            self._more.set()
            self._more = None
        return event

    async def keep_synced(self, period: float = SYNC_PERIOD) -> None:
        """Run for ever: have the disk keep what was written a `period` later, should power be lost (fdatasync(2))."""
        while True:
            await asyncio.sleep(period)
            await self._sync()

    async def _sync(self) -> None:
        if self._synced or self._descriptor < 0:
            return
        self._synced = True
        try:
            # A descriptor of its own: this one may be replaced while the disk works, which takes as long as it takes.
            await asyncio.to_thread(_sync_and_close, os.dup(self._descriptor))
        except OSError as error:
            self._synced = False
            self._failed(error)

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    # --- the file -------------------------------------------------------------------------------------------

    def _open(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if path.exists() and not path.is_file():
                raise OSError(f"{path} is no regular file")
            whole = self._load(path)
            self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
            if not whole:
                os.write(self._descriptor, b"\n")
            _sync_folder(path.parent)
        except OSError as error:
            log.error("the journal %s cannot be kept: %s", path, error)

    def _load(self, path: Path) -> bool:
        """Read what is there; whether it ends with a whole line."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return True
        for line in data.split(b"\n"):
            self._lines += 1
            try:
                record = json.loads(line)
                event, origin = record["event"], record.get("origin")
                seq = event["seq"]
            except (ValueError, KeyError, TypeError):
                continue
            if isinstance(seq, int) and seq > self.last_seq:
                self.last_seq = seq
                self._events.append(event)
                if origin:
                    self.origin = (str(origin[0]), int(origin[1]))
        return not data or data.endswith(b"\n")

    def _append(self, event: Mapping[str, Any], origin: tuple[str, int] | None) -> None:
        if self._descriptor < 0:
            return
        try:
            if self._torn:
                _write_all(self._descriptor, b"\n")
            self._torn = True
            _write_all(self._descriptor, _line(event, origin))
            self._torn = self._synced = False
            self._lines += 1
            if self._lines >= 2 * self._keep:
                self._lines = self._keep  # where this fails, it is tried again so many events later
                self._rewrite()
        except OSError as error:
            self._failed(error)
        else:
            if self._failing:
                log.warning("the journal can be written again; event %d is the first", event["seq"])
            self._failing = False

    def _failed(self, error: OSError) -> None:
        if not self._failing:
            log.error("the journal cannot be written: %s", error)
        self._failing = True

    def _rewrite(self) -> None:
        assert self._path is not None
        partial = self._path.with_name(f".{self._path.name}")
        fd = os.open(partial, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            for event in self._events:
                _write_all(fd, _line(event, self.origin if event["seq"] == self.last_seq else None))
            os.fsync(fd)
            partial.rename(self._path)
            _sync_folder(self._path.parent)
        except BaseException:
            os.close(fd)
            raise
        os.close(self._descriptor)
        self._descriptor = fd
        self._lines = len(self._events)


def _line(event: Mapping[str, Any], origin: tuple[str, int] | None) -> bytes:
    record = {"event": event} if origin is None else {"event": event, "origin": origin}
    return json.dumps(record, separators=(",", ":"), default=str).encode("ascii") + b"\n"


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _sync_and_close(fd: int) -> None:
    try:
        os.fdatasync(fd)
    finally:
        os.close(fd)


def _sync_folder(path: Path) -> None:
    """Have the disk keep which files there are (fsync(2))."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _bounded(value: Any) -> Any:
    if isinstance(value, str) and len(value) > LONGEST_TEXT:
        return "…" + value[-LONGEST_TEXT:]
    if isinstance(value, list) and len(value) > 50:
        return value[-50:]
    return value

"""Edge: what the machine's PID 1 found out about the uplink: its interface, our address there, the resolvers.

Addresses come and go with a lease while egress runs; so the record is looked at again whenever it has changed.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from nullbox.egress.addresses import Address
from nullbox.egress.config import Server


class Uplink:
    """The record of an uplink at `path`; all of it is empty where there is none."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._record: dict[str, Any] = {}

    def _look(self) -> dict[str, Any]:
        try:
            now = self._path.stat()
            stamp = (now.st_mtime_ns, now.st_ino)
            if stamp != self._stamp:
                found = json.loads(self._path.read_text())
                self._record, self._stamp = (found if isinstance(found, dict) else {}), stamp
        except (OSError, ValueError):
            self._record, self._stamp = {}, None
        return self._record

    def interfaces(self) -> tuple[str, ...]:
        name = self._look().get("interface")
        return (name,) if isinstance(name, str) and name else ()

    def servers(self) -> tuple[Server, ...]:
        """The resolvers that the network, or the operator, named."""
        found = self._look().get("resolvers") or []
        return tuple(Server(text) for text in found if isinstance(text, str))

    def address(self) -> Address | None:
        with contextlib.suppress(ValueError):
            return ipaddress.ip_address(str(self._look().get("address")))
        return None


class OwnAddresses(Collection[Address]):
    """The addresses that this host had at the start, and the uplink's, whatever it is by now."""

    def __init__(self, at_start: frozenset[Address], uplink: Uplink | None = None) -> None:
        self._at_start = at_start
        self._uplink = uplink

    def _now(self) -> frozenset[Address]:
        address = self._uplink.address() if self._uplink is not None else None
        return self._at_start if address is None else self._at_start | {address}

    def __contains__(self, item: object) -> bool:
        return item in self._now()

    def __iter__(self) -> Iterator[Address]:
        return iter(self._now())

    def __len__(self) -> int:
        return len(self._now())

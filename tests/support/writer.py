"""Somebody who writes to a machine's ctxgraph and remembers what was acknowledged."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nullbox.client import Nulld
from nullbox.protocols.errors import NullBoxError


@dataclass
class Writer:
    """Writes keys `PREFIX.…` as fast as they are acknowledged, until the machine is gone."""

    socket: Path
    prefix: str
    acknowledged: list[dict[str, Any]] = field(default_factory=list)
    failed: str = ""

    def start(self) -> None:
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def _write(self) -> None:
        try:
            with Nulld(self.socket, timeout=30.0) as nulld:
                for n in range(100_000):
                    value = {"n": n, "fill": "x" * (n * 37 % 2000)}
                    self.acknowledged.append(nulld.ctx_write(f"{self.prefix}.{n % 7}", value))
        except (NullBoxError, OSError) as error:
            self.failed = str(error)

    def join(self) -> None:
        self._thread.join(60)

"""Tasks that begin at once, so that what need not wait is done without a turn of the loop (Python 3.12 and newer)."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from typing import Any

EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


def eager_task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """A task for `work`, which may be done already when this returns. To be called in the running loop."""
    return asyncio.Task(work, loop=loop, **EAGER)

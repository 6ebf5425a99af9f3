"""Testing actors: the same test in the calling process, in microseconds, or with real processes.

    def test_echo():
        with in_process() as system:          # or: processes()
            echo = system.start(Echo)
            assert system.ask(echo, Query(1, "hello")) == Reply(1, "hello")

Nothing here sleeps: one waits for a message or for an actor's end, with a deadline. The test is the parent of the
actors that it starts, as far as they can tell: it gets their Ready, Phase, Exiting and CrashReport.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

from nullbox.testing.harness import Harness
from nullbox.testing.in_process import InProcess
from nullbox.testing.processes import Processes

__all__ = ["Harness", "InProcess", "Processes", "in_process", "processes"]


@contextlib.contextmanager
def in_process() -> Iterator[InProcess]:
    """Actors in the calling process, with virtual time."""
    harness = InProcess()
    try:
        yield harness
    finally:
        harness.close()


@contextlib.contextmanager
def processes() -> Iterator[Processes]:
    """Actors as processes, in a system of their own that ends with the block."""
    with tempfile.TemporaryDirectory(prefix="nullbox-") as directory:
        harness = Processes(Path(directory))
        try:
            yield harness
        finally:
            harness.close()

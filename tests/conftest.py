"""One profile for Hypothesis, SIGINT that works, short paths. (pyproject.toml puts tests/support on the path.)"""

from __future__ import annotations

import contextlib
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from sizes import sized

# How long one example takes says more about the machine than about the code; the suite has timeouts of its own.
settings.register_profile("nullbox", deadline=None, print_blob=True, max_examples=sized(100))
settings.load_profile("nullbox")

# A shell that starts the suite in the background has it ignore SIGINT (POSIX), and programs pass that on to their
# children: those that tests interrupt would never end.
with contextlib.suppress(ValueError):  # not the main thread: nothing to be done
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder for sockets: their paths have 107 bytes at most (unix(7)), and `tmp_path` holds the test's name."""
    with tempfile.TemporaryDirectory(prefix="nb-") as name:
        yield Path(name)

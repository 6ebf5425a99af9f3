"""Lets every test import the helpers in tests/support by their plain names; one profile for Hypothesis."""

from __future__ import annotations

import sys
from pathlib import Path

from hypothesis import settings

SUPPORT = str(Path(__file__).parent / "support")
if SUPPORT not in sys.path:
    sys.path.insert(0, SUPPORT)

# How long one example takes says more about the machine than about the code; the suite has timeouts of its own.
settings.register_profile("nullbox", deadline=None, print_blob=True)
settings.load_profile("nullbox")

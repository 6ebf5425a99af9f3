"""No deadlines for random tests: a busy machine is not a wrong answer. Failures print how to repeat them."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("nullbox", deadline=None, print_blob=True)
settings.load_profile("nullbox")

"""How large the tests are whose size is a choice: a sample in `make test-fast`, the whole in `make test`, a campaign in
`make test-full`.
"""

from __future__ import annotations

import os

FAST = os.environ.get("NULLBOX_FAST") == "1"
FULL = os.environ.get("NULLBOX_FULL") == "1"


def sized(usual: int, *, fast: int | None = None, full: int | None = None) -> int:
    """The number for this run. fast: a fifth of the usual unless given; full: the usual unless given."""
    if FULL:
        return usual if full is None else full
    if FAST:
        return max(1, usual // 5) if fast is None else fast
    return usual

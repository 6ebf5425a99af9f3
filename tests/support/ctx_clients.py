"""Clients of a ctxgraph in the calling process, and how they see a refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from nullbox.guest.nullbox_agent import Ctx, CtxError

Client = Callable[..., Ctx]
"""`agent(name, read=…, write=…)`: a client on that agent's socket."""


def refusal(call: Callable[[], Any]) -> CtxError:
    """The error that the call gets; fails if it gets none."""
    with pytest.raises(CtxError) as raised:
        call()
    return raised.value

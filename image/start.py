"""What is prepared for the start of the system when the image is built (data); see `image/rehearsal.py`."""

from __future__ import annotations

LOADED = (
    "nullbox.bootstrap.pid1",
    "nullbox.supervision.nulld",
    "nullbox.actors.ctxgraph",
    "nullbox.actors.egress",
    "nullbox.actors.gateway",
    "nftables",
    "nullbox.actors.cage",
)
"""Modules in the order in which a boot imports them: what they load is stored in that order, and what they compile is
kept in `PRECOMPILED`."""

PRECOMPILED = "system/python/precompiled"
"""See `nullbox.bootstrap.precompiled`."""

PRECOMPILED_ONLY = tuple(
    f"system/python/{folder}/"
    for folder in (
        *(f"nullbox/{name}" for name in ("actors", "ctxgraph", "egress", "gateway", "rpc", "supervision")),
        "dnslib",
        "thespian",
    )
)
"""Folders whose modules only forks of PID 1 load: byte code that is in `PRECOMPILED` is nowhere else."""

"""Rows: pausing, checkpoints and the guest's memory. Only the `smolmachines` build has them; none is in libkrun.h."""

from __future__ import annotations

from pykrun.abi import SMOLMACHINES, Function, row

ROWS: tuple[Function, ...] = (
    row(
        "krun_set_control_socket",
        "ctx:ctx path:str",
        """A Unix socket on which the running VMM takes one command a connection (PAUSE, RESUME, STATUS, …).
        It is served from the VMM: a guest that broke out can answer for it.""",
        SMOLMACHINES,
    ),
    row(
        "krun_set_snapshot",
        "ctx:ctx directory:str",
        "Start from a snapshot directory instead of booting. The rest of the context must match the original's.",
        SMOLMACHINES,
    ),
    row(
        "krun_set_snapshot_memory_fd",
        "ctx:ctx memory:fd",
        "Take the guest's memory of a snapshot from this descriptor.",
        SMOLMACHINES,
    ),
    row(
        "krun_set_snapshot_memory_fd2",
        "ctx:ctx memory:fd mode:u32",
        "The same with a mode of 0 or 1; 0 is what krun_set_snapshot_memory_fd does.",
        SMOLMACHINES,
    ),
    row(
        "krun_get_guest_ram",
        "ctx:ctx regions:pointer capacity:u32 count:pointer",
        """Where the guest's memory is: `uint64_t` triples of guest address, host address and length in
        bytes. capacity: room in triples. count: receives how many there are.""",
        SMOLMACHINES,
    ),
)

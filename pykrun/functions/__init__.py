"""All rows of libkrun's interface, by name."""

from __future__ import annotations

from pykrun.abi import Function, table
from pykrun.functions import devices, graphics, machine, snapshot, storage, superseded

FUNCTIONS: dict[str, Function] = table(
    machine.ROWS, storage.ROWS, devices.ROWS, graphics.ROWS, snapshot.ROWS, superseded.ROWS
)

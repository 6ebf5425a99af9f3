"""What counts as a VMM's own memory."""

from __future__ import annotations

from typing import Any

import pytest

from bench.cage import own_kib

RAM = [98304, 20000, "rw-p", ""]
LOW = [16384, 9000, "rw-p", ""]
KERNEL = [16704, 16704, "rw-p", ""]
OWN: list[list[Any]] = [
    [16772, 8, "rw-p", "/system/lib/libkrunfw.so.5"],
    [65404, 0, "---p", ""],
    [2048, 40, "rw-p", ""],
    [3000, 1200, "rw-p", "[heap]"],
    [700, 30, "rw-p", "/system/lib/libkrun.so"],
]


def test_the_guests_ram_and_its_kernel_are_not_the_vmms_own() -> None:
    assert own_kib([*OWN, KERNEL, RAM, LOW], ram_mib=96) == 1278


@pytest.mark.parametrize("mappings", [[*OWN, RAM, LOW], [*OWN, KERNEL, LOW], [*OWN, KERNEL, RAM, LOW, LOW]])
def test_what_cannot_be_told_apart_is_not_guessed(mappings: list[list[Any]]) -> None:
    with pytest.raises(ValueError, match="could be"):
        own_kib(mappings, ram_mib=96)

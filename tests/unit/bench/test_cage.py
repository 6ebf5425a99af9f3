"""What counts as a VMM's own memory."""

from __future__ import annotations

from bench.cage import own_kib

GUEST = [
    [65536, 20000, "rw-p", ""],
    [32768, 9000, "rw-p", ""],
]
FIRMWARE = [[17000, 16700, "rw-p", "/system/lib/libkrunfw.so.5"]]
OWN = [
    [8192, 40, "rw-p", ""],
    [3000, 1200, "rw-p", "[heap]"],
    [700, 30, "rw-p", "/system/lib/libkrun.so"],
]


def test_the_guests_ram_and_its_kernel_are_not_the_vmms_own() -> None:
    assert own_kib([*GUEST, *FIRMWARE, *OWN], ram_mib=96) == 1270

"""`nullbox.img`, started by UEFI firmware as on a real machine."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import firmware
import pytest
from operator_view import Machine, booted, until

from nullbox.host import run, verified

BUILD = Path(__file__).resolve().parents[2] / "build"


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A machine with a copy of the disk: it writes to it."""
    scratch = tmp_path_factory.mktemp("disk")
    disk = scratch / "nullbox.img"
    subprocess.run(["cp", "--sparse=always", str(BUILD / "nullbox.img"), str(disk)], check=True)
    ours = firmware.plain(scratch)
    with booted(
        BUILD,
        scratch,
        image="root.squashfs",
        adjust=lambda machine: firmware.from_firmware(machine, ours, disk, "disk"),
    ) as started:
        yield started
    shutil.rmtree(scratch, ignore_errors=True)


def test_firmware_starts_the_kernel_from_the_esp_and_the_system_gets_healthy(machine: Machine) -> None:
    assert machine.json("status")["healthy"] is True
    assert "EFI v2" in machine.console(), "the kernel was not started by UEFI firmware"


def test_the_root_is_verified_and_is_the_partition_with_its_own_hash(machine: Machine) -> None:
    root = verified.read(BUILD / "root.squashfs")
    command_line = re.search(r"Command line: (.*)", machine.console())
    assert command_line
    assert root.root_hash in command_line[1]
    assert f"PARTUUID={verified.partition_id(root)}" in command_line[1]
    assert "root=/dev/dm-0" in command_line[1]
    assert "panic_on_corruption" in command_line[1]


def test_it_powers_off(machine: Machine) -> None:
    machine.ok("power", "off", "--yes")
    until(lambda: run.running(machine.folder) is None, seconds=120, what="the machine to be off")
    assert "Power down" in machine.console()

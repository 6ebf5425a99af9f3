"""`nullbox.iso` with the kernel for real machines, from a CD drive and from a USB stick."""

from __future__ import annotations

from pathlib import Path

import firmware
import pytest
from operator_view import booted

from nullbox.host import verified
from nullbox.host.qemu import Medium

BUILD = Path(__file__).resolve().parents[2] / "build"
ISO = BUILD / "nullbox.iso"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not ISO.is_file(), reason="no build/nullbox.iso: `make iso` builds it"),
]


@pytest.mark.parametrize("medium", ["cdrom", "usb"])
def test_the_iso_gets_healthy_from_both(medium: Medium, tmp_path: Path) -> None:
    ours = firmware.plain(tmp_path)
    with booted(
        BUILD,
        tmp_path,
        image="root.squashfs",
        adjust=lambda machine: firmware.from_firmware(machine, ours, ISO, medium),
    ) as machine:
        assert machine.json("status")["healthy"] is True
        assert verified.read(BUILD / "root.squashfs").root_hash in machine.console()
        assert ("/dev/sr0" in machine.console()) == (medium == "cdrom")


def test_size() -> None:
    assert ISO.stat().st_size <= 48_000_000

"""Secure Boot with the user's own key: what it signed starts, and nothing else does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import firmware
import pytest
from operator_view import until

from nullbox.host import acceleration, qemu
from nullbox.host.qemu import BINARY, Firmware, Machine

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
REFUSED = "Access Denied"
"""What OVMF says about a program that no enrolled key signed."""
STARTED = "Linux version"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A folder with a disk image signed by a new key, and the key's certificate."""
    folder = tmp_path_factory.mktemp("signed")
    key, certificate = firmware.make_key(folder)
    argv = [sys.executable, "-m", "image.artefacts", "disk", "--kernel", str(BUILD / "bzImage")]
    argv += ["--key", str(key), "--cert", str(certificate), "--output", str(folder)]
    subprocess.run(argv, check=True, cwd=ROOT, capture_output=True)
    return folder, certificate


def outcome(scratch: Path, ours: Firmware, disk: Path) -> str:
    """What firmware makes of a disk: `STARTED` or `REFUSED`. QEMU is ended then."""
    console = scratch / "console.log"
    machine = Machine(
        kernel=None,
        root=disk,
        console=console,
        gateway=scratch / "gateway.sock",
        kvm=acceleration.choose(BINARY).kvm,
        firmware=ours,
        append=("init=/nothing",),
    )
    process = subprocess.Popen(qemu.argv(machine), stdin=subprocess.DEVNULL)
    try:

        def look() -> str | None:
            text = console.read_text(errors="replace") if console.exists() else ""
            return next((word for word in (STARTED, REFUSED) if word in text), None)

        return until(look, seconds=180, what=f"{STARTED} or {REFUSED} on the console", every=0.5)
    finally:
        process.kill()
        process.wait()


def test_a_disk_signed_with_the_enrolled_key_starts(signed: tuple[Path, Path], tmp_path: Path) -> None:
    folder, certificate = signed
    assert outcome(tmp_path, firmware.secure(tmp_path, certificate), folder / "nullbox.img") == STARTED


def test_an_unsigned_disk_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    assert outcome(tmp_path, firmware.secure(tmp_path, signed[1]), BUILD / "nullbox.img") == REFUSED


def test_a_disk_signed_with_another_key_is_refused(signed: tuple[Path, Path], tmp_path: Path) -> None:
    _, other = firmware.make_key(tmp_path)
    assert outcome(tmp_path, firmware.secure(tmp_path, other), signed[0] / "nullbox.img") == REFUSED

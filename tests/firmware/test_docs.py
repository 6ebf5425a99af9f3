"""The page about disks and Secure Boot, followed in a clone: what it has the reader type is typed."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest
from doc_commands import ROOT, Shell, commands

from nullbox.host import acceleration
from nullbox.host.qemu import BINARY

HEALTHY = "is healthy"
EMULATED = "-accel tcg,thread=multi -cpu max -smp 1"
"""In the place of what the page says for a machine with KVM."""
WITH_KVM = "-accel kvm -cpu host -smp 2"


def boots(command: str, folder: Path, seconds: float) -> str:
    """What the command's machine says until it is healthy, or until the time is over; the machine is ended then."""
    output = folder / "serial.log"
    with output.open("wb") as file:
        process = subprocess.Popen(command.split(), cwd=folder, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    try:
        until = time.monotonic() + seconds
        while HEALTHY not in output.read_text(errors="replace") and time.monotonic() < until and process.poll() is None:
            time.sleep(0.5)
    finally:
        process.kill()
        process.wait()
    return output.read_text(errors="replace")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_disks_and_secure_boot(tmp_path: Path) -> None:
    """The disk is a file here. The machine has no network card: a test's system talks to nobody."""
    dd, copy, qemu, openssl, make = [command.text for command in commands(ROOT / "docs" / "boot-media.md")]
    clone = tmp_path / "nullbox"
    with Shell(tmp_path, {}) as shell:

        def run(text: str, seconds: float = 900) -> str:
            output, status = shell.run(text, seconds)
            assert status == 0, f"{text}\n{output}"
            return output

        run(f"git clone --quiet file://{ROOT} && cd nullbox")
        run("make image")
        assert "/dev/DISK" in dd
        run(dd.replace("/dev/DISK", "disk.img"))
        assert (clone / "disk.img").stat().st_size == (clone / "build" / "nullbox.img").stat().st_size
        run(copy)
        assert WITH_KVM in qemu
        here = WITH_KVM if acceleration.choose(BINARY).kvm else EMULATED
        said = boots(f"{qemu.replace(WITH_KVM, here)} -nic none", clone, 240)
        assert HEALTHY in said, said[-3000:]

        run(openssl)
        run(make)
        run("sbverify --cert cert.pem build/nullbox.efi")

"""UEFI firmware for test machines: Debian's and Ubuntu's OVMF, with variables of the test's own."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from nullbox.host.qemu import Firmware, Machine, Medium

FOLDER = Path("/usr/share/OVMF")
OWNER = "d5b4d6b0-9b1c-5c7f-8b1a-0e5c3f0a7e22"
"""Who enrolled the keys, by the test's own GUID."""


def plain(scratch: Path) -> Firmware:
    """Firmware that starts whatever it finds."""
    variables = scratch / "variables.fd"
    shutil.copyfile(FOLDER / "OVMF_VARS_4M.fd", variables)
    return Firmware(FOLDER / "OVMF_CODE_4M.fd", variables)


def make_key(folder: Path) -> tuple[Path, Path]:
    """A private key and its certificate, as a user makes them."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    argv = ["openssl", "req", "-new", "-x509", "-newkey", "rsa:2048", "-nodes", "-sha256", "-days", "30"]
    argv += ["-subj", "/CN=NullBox test key", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    return key, certificate


def secure(scratch: Path, certificate: Path) -> Firmware:
    """Firmware with Secure Boot on that trusts programs signed with this certificate's key, and no others."""
    variables = scratch / "secure-variables.fd"
    argv = [str(Path(sys.executable).parent / "virt-fw-vars"), "--input", str(FOLDER / "OVMF_VARS_4M.fd")]
    argv += ["--output", str(variables), "--secure-boot", "--no-microsoft"]
    for option in ("--set-pk", "--add-kek", "--add-db"):
        argv += [option, OWNER, str(certificate)]
    subprocess.run(argv, check=True, capture_output=True)
    return Firmware(FOLDER / "OVMF_CODE_4M.secboot.fd", variables, secure=True)


def from_firmware(machine: Machine, firmware: Firmware, image: Path, medium: Medium) -> Machine:
    """The same machine, started by firmware from this disk or CD image."""
    return replace(machine, kernel=None, root=image, verified=None, firmware=firmware, medium=medium)

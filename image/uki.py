"""The unified kernel image: one EFI program with kernel, command line and os-release (pure).

systemd's EFI stub reads its own sections and starts the kernel with the command line that is in the file. With Secure
Boot on, firmware starts the file only if it is signed, and the stub takes no other command line: so the signature
covers the kernel, its parameters, and through the root hash every block of the root.

Sources: systemd-stub(7); UAPI Group, Unified Kernel Image Specification; os-release(5).
"""

from __future__ import annotations

import re

from image import pe
from nullbox.host.qemu import SYSTEM_ARGUMENTS

STUB = ("systemd-boot-efi", "usr/lib/systemd/boot/efi/linuxx64.efi.stub")
"""Debian package and file of the stub."""

CONSOLES = {"virt": ("console=ttyS0",), "hardware": ("console=ttyS0", "console=tty0")}
"""Flavour of kernel → where its log goes. The last one is /dev/console. A serial port that is not there is no error."""

CMDLINE_BYTES = 1024
"""Every command line is filled up to this, so that the file's size does not depend on what it says."""


class KernelError(ValueError):
    """The file is no kernel that EFI firmware can start; the message says why."""


def command_line(root: tuple[str, ...], flavour: str) -> bytes:
    """The content of `.cmdline`. root: the arguments that make and mount the verified root."""
    text = " ".join((*root, *SYSTEM_ARGUMENTS, *CONSOLES[flavour])).encode("ascii")
    if len(text) > CMDLINE_BYTES:
        raise ValueError(f"a command line of {len(text)} bytes; at most {CMDLINE_BYTES}")
    return text.ljust(CMDLINE_BYTES)


def kernel_version(kernel: bytes) -> str:
    """The version in a bzImage's setup header; raises `KernelError`.

    Source: Documentation/arch/x86/boot.rst of Linux: `kernel_version` is an offset to a text behind the first sector.
    """
    if kernel[0x202:0x206] != b"HdrS" or kernel[:2] != b"MZ":
        raise KernelError("not a bzImage with an EFI stub (CONFIG_EFI_STUB)")
    start = int.from_bytes(kernel[0x20E:0x210], "little") + 0x200
    match = re.match(rb"[0-9][0-9a-zA-Z.+~_-]*", kernel[start : start + 256])
    if match is None:
        raise KernelError("its setup header names no version")
    return match[0].decode("ascii")


def assemble(stub: bytes, kernel: bytes, cmdline: bytes, os_release: str) -> bytes:
    """The whole program; raises `KernelError` or `pe.PeError`."""
    return pe.add_sections(
        stub,
        [
            (".osrel", os_release.encode()),
            (".cmdline", cmdline),
            (".uname", kernel_version(kernel).encode()),
            (".linux", kernel),
        ],
    )

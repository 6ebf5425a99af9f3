"""Decide between hardware virtualization and emulation, by proof (`decide` is pure, the rest is edge).

A `/dev/kvm` that opens proves nothing: some cloud machines offer one that hangs or breaks every guest. So the
processor's flags are read first, and where they allow it, a guest of a few bytes is run under a time limit.

Sources: Linux Documentation/virt/kvm/api.rst; the Multiboot Specification 0.6.96, section 3.1; QEMU's
`isa-debug-exit`, which ends QEMU with the status `(value << 1) | 1`.
"""

from __future__ import annotations

import os
import struct
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROBE_SECONDS = 3.0
EXIT_PORT = 0xF4
EXIT_VALUE = 0x2A
EXIT_STATUS = EXIT_VALUE << 1 | 1

FLAGS = ("vmx", "svm")
"""Flags in /proc/cpuinfo of a processor (Intel, AMD) that can run guests."""


@dataclass(frozen=True)
class Choice:
    """What to run the machine with, and why, for a person."""

    kvm: bool
    reason: str

    def __str__(self) -> str:
        return f"{'KVM' if self.kvm else 'software emulation (TCG)'}: {self.reason}"


@dataclass(frozen=True)
class Probe:
    """How the probe guest did: `works`, and what was seen."""

    works: bool
    detail: str


def cpu_flags(cpuinfo: str) -> frozenset[str]:
    """The flags of the first processor in the text of /proc/cpuinfo."""
    for line in cpuinfo.splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return frozenset()


def decide(flags: frozenset[str], device: str | None, probe: Callable[[], Probe]) -> Choice:
    """Choose. `device`: why /dev/kvm cannot be used, None if it opens. `probe` is called only when all else fits."""
    flag = next((flag for flag in FLAGS if flag in flags), None)
    if device is not None:
        return Choice(False, device)
    if flag is None:
        return Choice(
            False,
            "the processor shows neither vmx nor svm, so /dev/kvm, though it opens, cannot be trusted with a guest",
        )
    outcome = probe()
    if not outcome.works:
        return Choice(False, f"the processor shows {flag} and /dev/kvm opens, but {outcome.detail}")
    return Choice(True, f"the processor shows {flag}, and a probe guest ran ({outcome.detail})")


def probe_kernel() -> bytes:
    """A Multiboot kernel that writes `EXIT_VALUE` to `EXIT_PORT` and halts: header and six instructions."""
    load = 0x100000
    flags = 1 << 16  # the address fields below are valid, so that no ELF header is needed
    magic = 0x1BADB002
    code = bytes([0x66, 0xBA]) + struct.pack("<H", EXIT_PORT)  # mov dx, EXIT_PORT
    code += bytes([0xB0, EXIT_VALUE, 0xEE])  # mov al, EXIT_VALUE; out dx, al
    code += bytes([0xFA, 0xF4, 0xEB, 0xFD])  # cli; hlt; jmp to hlt
    header_size = 32
    end = load + header_size + len(code)
    header = struct.pack("<IIi", magic, flags, -(magic + flags))
    header += struct.pack("<IIIII", load, load, end, end, load + header_size)
    return header + code


def probe_argv(binary: str, kernel: Path) -> list[str]:
    """QEMU's command line for the probe guest, with the acceleration and processor that a machine would get."""
    return [
        *(binary, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "16M", "-kernel", str(kernel)),
        *("-device", f"isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x1"),
    ]


def run_probe(binary: str, limit: float = PROBE_SECONDS) -> Probe:
    """Run the probe guest for at most `limit` seconds; then it is killed."""
    with tempfile.TemporaryDirectory(prefix="nullbox-probe-") as folder:
        kernel = Path(folder) / "probe"
        kernel.write_bytes(probe_kernel())
        try:
            done = subprocess.run(
                probe_argv(binary, kernel),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=limit,
            )
        except FileNotFoundError:
            return Probe(False, f"{binary} is not installed")
        except subprocess.TimeoutExpired:
            return Probe(False, f"a probe guest did not end within {limit:g} s")
    if done.returncode == EXIT_STATUS:
        return Probe(True, f"it ended with the expected status {EXIT_STATUS}")
    words = done.stderr.strip().splitlines()
    return Probe(False, f"a probe guest ended with {done.returncode}" + (f": {words[-1]}" if words else ""))


def device_problem(path: Path = Path("/dev/kvm")) -> str | None:
    """Why the device cannot be used by this user, or None."""
    if not path.exists():
        return f"there is no {path}"
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return f"{path} does not open: {error.strerror}"
    return None


def choose(binary: str) -> Choice:
    """The acceleration for machines on this host."""
    flags = cpu_flags(Path("/proc/cpuinfo").read_text(errors="replace"))
    return decide(flags, device_problem(), lambda: run_probe(binary))

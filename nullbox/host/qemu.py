"""From the description of a machine to QEMU's command line (pure).

The same function serves `nullbox run`, the boot tests and the benchmarks, so that all of them boot one machine.

Sources: qemu-system-x86_64(1); QEMU's documentation of virtio-serial, of the i6300esb watchdog and of QMP;
Documentation/admin-guide/kernel-parameters.txt of Linux.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nullbox.host import verified
from nullbox.host.verified import VerifiedRoot

BINARY = "qemu-system-x86_64"
GATEWAY_PORT = "nullbox.gateway.0"
"""Name of the virtio-serial port that leads to the gateway: `/dev/virtio-ports/` of the machine has it."""

CPUINFO = Path("/proc/cpuinfo")

LAST_WORDS_ARGUMENTS = (
    "reserve_mem=1M:4096:oops",
    "ramoops.mem_name=oops",
    "ramoops.record_size=0x20000",
    "ramoops.console_size=0x20000",
)
"""Memory that outlives a reset, for the end of the log of a kernel that crashes; by name, since a kernel that is locked
down takes no address (Documentation/admin-guide/ramoops.rst)."""

SYSTEM_ARGUMENTS = (
    *("ro", "rootfstype=squashfs", "init=/sbin/init", "random.trust_cpu=on", "TERM=dumb"),
    *LAST_WORDS_ARGUMENTS,
)
"""What every boot of the image needs, without initramfs, beside the root and the console.
The kernel hands TERM to PID 1: the console is a log file, so nothing is to be coloured."""

KERNEL_ARGUMENTS = (*SYSTEM_ARGUMENTS, "console=ttyS0", "panic=-1")
"""The same for a kernel that QEMU starts: a panic restarts the machine at once, which `-no-reboot` turns into an
end."""

KVM = ("-accel", "kvm", "-cpu", "host")
TCG = ("-accel", "tcg,thread=multi", "-cpu", "max,-erms,-fsrm")
"""Software emulation. `max` includes AMD's SVM, so that microVMs run inside, emulated as well. Left out is what makes
real processors faster and emulated ones slower: clearing and copying with `rep stosb` and `rep movsb`, which are
emulated byte by byte. A VM that ends gives its memory back cleared: with them that was 95 % of 5 to 10 s (sampled)."""


Medium = Literal["disk", "cdrom", "usb"]
"""What firmware boots from: a virtio disk, a SATA CD drive, a USB stick."""


@dataclass(frozen=True)
class Firmware:
    """UEFI firmware of a machine that boots as a real one does.

    code: the program. variables: its writable store, of this machine only. secure: the build for Secure Boot, whose
    variables only code in system management mode can change.
    """

    code: Path
    variables: Path
    secure: bool = False


@dataclass(frozen=True)
class Machine:
    """A virtual machine that runs NullBox.

    kernel, root: the bzImage and the SquashFS file; with `firmware`, root is a whole disk or ISO image, attached as
    `medium`, and the kernel is what firmware finds there. verified: the root's hash; None: the root is not verified.
    kvm: hardware virtualization, or else emulation. cpus: virtual processors; None: `CPUS`. memory_mib: in MiB.
    console: file that gets what the serial console prints.
    gateway: Unix socket that QEMU listens on, for one client: the machine's port `nullbox.gateway.0`.
    qmp: Unix socket of QEMU's own control protocol. state: raw disk image for what is to last (see `state_disk`);
    without one the machine forgets. It is written past the host's page cache (`cache=none`), and a flush of the machine
    reaches the host's disk: an end of QEMU is to it what a loss of power is to a machine.
    watchdog: an i6300esb that resets the machine. network: a network card behind QEMU's user networking,
    `restrict=on`: it leads nowhere. wire: a network card whose frames go, one a datagram, between the Unix sockets
    `WIRE.qemu` (QEMU's) and `WIRE.peer` (whose, is not QEMU's business). append: more kernel arguments, after ours.
    reboots: a reboot is one, and not the end of QEMU. extra: more options of QEMU.
    """

    kernel: Path | None
    root: Path
    console: Path
    gateway: Path
    kvm: bool = False
    cpus: int | None = None
    memory_mib: int = 2048
    qmp: Path | None = None
    state: Path | None = None
    watchdog: bool = False
    network: bool = False
    wire: Path | None = None
    append: tuple[str, ...] = ()
    reboots: bool = False
    extra: tuple[str, ...] = ()
    verified: VerifiedRoot | None = None
    firmware: Firmware | None = None
    medium: Medium = "disk"
    binary: str = BINARY


TCG_ARGUMENTS = ("tsc=reliable",)
"""QEMU's emulated processors share the host's counter, so it is one clock for all of them. Linux cannot know that, sees
delays of a busy host as drift, and falls back to the HPET, each reading of which stops every emulated processor: a
microVM inside then takes ten times as long to boot, or does not get up at all."""


def tsc_rate(cpuinfo: str) -> tuple[str, ...]:
    """The rate of the counter that emulated processors share with the host's, as an argument for their kernel; none
    where the text of the host's /proc/cpuinfo (proc_cpuinfo(5)) does not tell it for sure.

    A kernel that cannot calibrate against the PIT was seen to take it 0.1 to 0.2 % wrong, and the VMs in those machines
    to get no timer interrupt for minutes; how the one leads to the other is not known. Without `aperfmperf` what the
    text calls "cpu MHz" is the counter's rate (arch/x86/kernel/cpu/proc.c).
    """
    flags = re.search(r"^flags\s*:(.*)$", cpuinfo, re.MULTILINE)
    rate = re.search(r"^cpu MHz\s*:\s*([0-9]+)\.([0-9]{3})", cpuinfo, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    if rate is None or "aperfmperf" in known or "constant_tsc" not in known:
        return ()
    return (f"tsc_early_khz={int(rate[1] + rate[2])}",)


STUB_ARGUMENTS = "io.systemd.stub.kernel-cmdline-extra"
"""Name of the SMBIOS string whose value the EFI stub of a unified kernel image adds to its command line."""

CPUS = {True: 2, False: 1}
"""Virtual processors, with KVM and without. QEMU's emulation of SVM (seen with 7.2) is not safe when two processors run
microVMs at the same time: guests, and now and then the whole machine, reset themselves. One processor is slower and
never did."""


def _value(path: Path) -> str:
    """A path as the value of a QEMU option, in which a comma must be doubled."""
    return str(path).replace(",", ",,")


def argv(machine: Machine) -> list[str]:
    """The command line that runs the machine in the foreground."""
    command = [machine.binary, "-nodefaults", "-no-user-config", "-display", "none"]
    if not machine.reboots:
        command += ["-no-reboot"]
    command += ["-name", "nullbox", "-machine", "q35", *(KVM if machine.kvm else TCG)]
    command += ["-smp", str(machine.cpus or CPUS[machine.kvm]), "-m", f"{machine.memory_mib}M"]
    command += _from_firmware(machine, machine.firmware) if machine.firmware else _from_kernel(machine)
    if machine.state:
        command += _disk("state", machine.state, read_only=False)
    command += ["-chardev", f"file,id=console,path={_value(machine.console)}", "-serial", "chardev:console"]
    command += ["-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
    command += ["-chardev", f"socket,id=gateway,path={_value(machine.gateway)},server=on,wait=off"]
    command += ["-device", f"virtserialport,chardev=gateway,id=gateway,name={GATEWAY_PORT}"]
    if machine.qmp:
        command += ["-chardev", f"socket,id=qmp,path={_value(machine.qmp)},server=on,wait=off"]
        command += ["-mon", "chardev=qmp,mode=control"]
    if machine.watchdog:
        command += ["-device", "i6300esb", "-action", "watchdog=reset"]
    if machine.network:
        command += ["-netdev", "user,id=uplink,restrict=on", "-device", "virtio-net-pci,netdev=uplink"]
    elif machine.wire:
        ends = [f"{end}.type=unix,{end}.path={_value(path)}" for end, path in _wire_ends(machine.wire)]
        command += ["-netdev", f"dgram,id=uplink,{','.join(ends)}", "-device", "virtio-net-pci,netdev=uplink"]
    return [*command, *machine.extra]


def _wire_ends(wire: Path) -> list[tuple[str, Path]]:
    return [("local", wire.with_name(wire.name + ".qemu")), ("remote", wire.with_name(wire.name + ".peer"))]


def kernel_arguments(machine: Machine) -> str:
    """The command line of a kernel that QEMU starts."""
    root = verified.arguments(machine.verified, "/dev/vda") if machine.verified else ("root=/dev/vda",)
    return " ".join((*root, *KERNEL_ARGUMENTS, *_added(machine)))


def _added(machine: Machine) -> tuple[str, ...]:
    emulation = () if machine.kvm else (*TCG_ARGUMENTS, *tsc_rate(CPUINFO.read_text()))
    return (*emulation, *machine.append)


def _from_kernel(machine: Machine) -> list[str]:
    command = ["-kernel", str(machine.kernel), "-append", kernel_arguments(machine)]
    return command + _disk("root", machine.root, read_only=True)


def _from_firmware(machine: Machine, firmware: Firmware) -> list[str]:
    """Firmware, its variables, the medium. More kernel arguments go to the EFI stub, which takes them from SMBIOS."""
    command = ["-drive", f"if=pflash,unit=0,format=raw,readonly=on,file={_value(firmware.code)}"]
    command += ["-drive", f"if=pflash,unit=1,format=raw,file={_value(firmware.variables)}"]
    if firmware.secure:
        command += ["-machine", "smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]
    if added := " ".join(_added(machine)):
        command += ["-smbios", f"type=11,value={STUB_ARGUMENTS}={added.replace(',', ',,')}"]
    if machine.medium == "disk":
        return command + _disk("root", machine.root, read_only=False)
    command += ["-drive", f"file={_value(machine.root)},format=raw,if=none,id=root,readonly=on"]
    if machine.medium == "cdrom":
        return [*command, "-device", "ide-cd,drive=root"]
    return [*command, "-device", "qemu-xhci", "-device", "usb-storage,drive=root"]


def _disk(name: str, path: Path, *, read_only: bool) -> list[str]:
    options = f"file={_value(path)},format=raw,if=none,id={name},{'readonly=on' if read_only else 'cache=none'}"
    return ["-drive", options, "-device", f"virtio-blk-pci,drive={name},serial={name}"]

"""From the description of a machine to QEMU's command line (pure).

The same function serves `nullbox run`, the boot tests and the benchmarks, so that all of them boot one machine.

Sources: qemu-system-x86_64(1); QEMU's documentation of virtio-serial, of the i6300esb watchdog and of QMP;
Documentation/admin-guide/kernel-parameters.txt of Linux.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BINARY = "qemu-system-x86_64"
GATEWAY_PORT = "nullbox.gateway.0"
"""Name of the virtio-serial port that leads to the gateway: `/dev/virtio-ports/` of the machine has it."""

KERNEL_ARGUMENTS = (
    "root=/dev/vda",
    "ro",
    "rootfstype=squashfs",
    "init=/sbin/init",
    "console=ttyS0",
    "panic=-1",
    "random.trust_cpu=on",
    "TERM=dumb",
)
"""Boots the image without initramfs; a panic restarts the machine at once, which `-no-reboot` turns into an end.
The kernel hands TERM to PID 1: the console is a log file, so nothing is to be coloured."""

KVM = ("-accel", "kvm", "-cpu", "host")
TCG = ("-accel", "tcg,thread=multi", "-cpu", "max")
"""Software emulation. `max` includes AMD's SVM, so that microVMs run inside, emulated as well."""


@dataclass(frozen=True)
class Machine:
    """A virtual machine that runs NullBox.

    kernel, root: the bzImage and the SquashFS file. kvm: hardware virtualization, or else emulation.
    cpus: virtual processors; None: `CPUS`. memory_mib: in MiB. console: file that gets what the serial console prints.
    gateway: Unix socket that QEMU listens on, for one client: the machine's port `nullbox.gateway.0`.
    qmp: Unix socket of QEMU's own control protocol. state: raw disk image for what is to last (see `state_disk`);
    without one the machine forgets. It is written past the host's page cache (`cache=none`), and a flush of the machine
    reaches the host's disk: an end of QEMU is to it what a loss of power is to a machine.
    watchdog: an i6300esb that resets the machine. network: a network card behind QEMU's user networking,
    `restrict=on`: it leads nowhere. wire: a network card whose frames go, one a datagram, between the Unix sockets
    `WIRE.qemu` (QEMU's) and `WIRE.peer` (whose, is not QEMU's business). append: more kernel arguments, after ours.
    reboots: a reboot is one, and not the end of QEMU. extra: more options of QEMU.
    """

    kernel: Path
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
    binary: str = BINARY


TCG_ARGUMENTS = ("tsc=reliable",)
"""QEMU's emulated processors share the host's counter, so it is one clock for all of them. Linux cannot know that, sees
delays of a busy host as drift, and falls back to the HPET, each reading of which stops every emulated processor: a
microVM inside then takes ten times as long to boot, or does not get up at all."""


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
    arguments = (*KERNEL_ARGUMENTS, *(() if machine.kvm else TCG_ARGUMENTS), *machine.append)
    command += ["-kernel", str(machine.kernel), "-append", " ".join(arguments)]
    command += _disk("root", machine.root, read_only=True)
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


def _disk(name: str, path: Path, *, read_only: bool) -> list[str]:
    options = f"file={_value(path)},format=raw,if=none,id={name},{'readonly=on' if read_only else 'cache=none'}"
    return ["-drive", options, "-device", f"virtio-blk-pci,drive={name},serial={name}"]

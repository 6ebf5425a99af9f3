"""What this host lacks for building, running and hosting NullBox, and what to do about it: findings from facts. Pure;
`doctor_facts` gathers the facts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from nullbox.gateway.doctor import BUILT, CONTROLLERS, FAILURE, OK, WARNING, Finding

GIB = 1 << 30
MINIMUM_PYTHON = (3, 11)
MINIMUM_QEMU = (7, 2)
BUILD_SPACE = 6 * GIB
"""Kernel sources and objects, packages, image, virtual environment."""
LITTLE_SPACE = 1 * GIB
RUN_MEMORY_MIB = 2560
"""The machine of `nullbox run` and its QEMU."""
NAMESPACES = ("pid", "net", "mnt", "ipc", "cgroup")
LONGEST_SOCKET = 107


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What was seen.

    acceleration: whether a guest ran under KVM, and the reason for a person. qemu: version, None without it.
    cgroup_root: where cgroup v2 is mounted, None nowhere; controllers: what it offers. namespaces: that the kernel has.
    nftables: why libnftables cannot be used, None if it can. missing: packages that are not installed. kernel, image:
    whether they are built. socket: path of the machine's socket; machine: what stands behind it: `answers`, `none`, or
    why not. now: seconds since the epoch.
    """

    kvm: bool
    acceleration: str
    kvm_readable: bool
    qemu: tuple[int, int] | None
    python: tuple[int, int]
    root: bool
    cgroup_root: str | None
    controllers: tuple[str, ...]
    namespaces: tuple[str, ...]
    tun: bool
    nftables: str | None
    missing: tuple[str, ...]
    kernel_built: bool
    image_built: bool
    build: str
    disk_free: int
    memory_available_mib: int
    socket: str
    machine: str
    now: float
    newest_file: float = field(default=0.0)


def virtualization(facts: HostFacts) -> Finding:
    """The flag and the device prove nothing; a guest that ran does."""
    if facts.kvm:
        return Finding("virtualization", OK, facts.acceleration)
    if not facts.kvm_readable and "does not open" in facts.acceleration:
        advice = "add your user to the group of /dev/kvm (usermod -aG kvm), and log in again"
    else:
        advice = "turn virtualization on in the firmware, or nested virtualization in the outer machine; until then "
        advice += "`nullbox run` emulates, which is slow, and `nullbox up` has only --driver process"
    return Finding("virtualization", WARNING, facts.acceleration, advice)


def qemu(facts: HostFacts) -> Finding:
    """Is there a QEMU that emulates nested virtualization?"""
    if facts.qemu is None:
        return Finding("qemu", FAILURE, "not installed", "apt-get install qemu-system-x86")
    found = ".".join(map(str, facts.qemu))
    if facts.qemu < MINIMUM_QEMU:
        return Finding("qemu", FAILURE, found, f"install {'.'.join(map(str, MINIMUM_QEMU))} or newer")
    return Finding("qemu", OK, found)


def python(facts: HostFacts) -> Finding:
    """Is this Python new enough?"""
    found = ".".join(map(str, facts.python))
    if facts.python < MINIMUM_PYTHON:
        return Finding("python", FAILURE, found, f"use {'.'.join(map(str, MINIMUM_PYTHON))} or newer")
    return Finding("python", OK, found)


def packages(facts: HostFacts) -> Finding:
    """Is everything installed that building and testing take?"""
    if facts.missing:
        names = " ".join(facts.missing)
        return Finding("packages", WARNING, f"missing: {names}", f"make setup, or apt-get install {names}")
    return Finding("packages", OK, "all there")


def build(facts: HostFacts) -> Finding:
    """Are kernel and image there?"""
    missing = [name for name, there in (("kernel", facts.kernel_built), ("image", facts.image_built)) if not there]
    if missing:
        return Finding("build", WARNING, f"no {' and no '.join(missing)} in {facts.build}", f"make {' '.join(missing)}")
    return Finding("build", OK, f"kernel and image in {facts.build}")


def permissions(facts: HostFacts) -> Finding:
    """What this user may do."""
    if facts.root:
        return Finding("permissions", OK, "root")
    advice = "`nullbox run` works as it is; use sudo for `nullbox up` and for the tests in namespaces"
    return Finding("permissions", WARNING, "not root", advice)


def namespaces(facts: HostFacts) -> Finding:
    """What `nullbox up` lives in."""
    missing = [name for name in NAMESPACES if name not in facts.namespaces]
    if missing:
        return Finding("namespaces", FAILURE, f"the kernel lacks {', '.join(missing)}", "`nullbox up` needs them")
    return Finding("namespaces", OK, ", ".join(NAMESPACES))


def cgroups(facts: HostFacts) -> Finding:
    """What limits, pauses and ends hosted agents."""
    if facts.cgroup_root is None:
        advice = "boot with systemd.unified_cgroup_hierarchy=1; `nullbox up` needs it, `nullbox run` does not"
        return Finding("cgroups", WARNING, "no cgroup v2", advice)
    missing = [name for name in CONTROLLERS if name not in facts.controllers]
    if missing:
        advice = "boot with systemd.unified_cgroup_hierarchy=1; until then hosted agents run without these limits"
        return Finding("cgroups", WARNING, f"{facts.cgroup_root} lacks {', '.join(missing)}", advice)
    return Finding("cgroups", OK, f"{', '.join(CONTROLLERS)} in {facts.cgroup_root}")


def nftables(facts: HostFacts) -> Finding:
    """Can rulesets be loaded, in namespaces of our own?"""
    if facts.nftables is not None:
        return Finding("nftables", WARNING, facts.nftables, "apt-get install libnftables1; `nullbox up` needs it")
    return Finding("nftables", OK, "libnftables loads")


def tun(facts: HostFacts) -> Finding:
    """Hosted microVMs have TAPs."""
    if facts.tun:
        return Finding("tun", OK, "/dev/net/tun")
    return Finding("tun", WARNING, "no /dev/net/tun", "modprobe tun; hosted microVMs need it")


def disk(facts: HostFacts) -> Finding:
    """Is there space to build?"""
    found = f"{facts.disk_free / GIB:.1f} GiB free in {facts.build}"
    if facts.disk_free < LITTLE_SPACE:
        return Finding("disk", FAILURE, found, "make room: the machine's logs and stores need some")
    if facts.disk_free < BUILD_SPACE and not (facts.kernel_built and facts.image_built):
        return Finding("disk", WARNING, found, f"building everything takes up to {BUILD_SPACE // GIB} GiB")
    return Finding("disk", OK, found)


def memory(facts: HostFacts) -> Finding:
    """Is there memory for the machine?"""
    found = f"{facts.memory_available_mib} MiB available"
    if facts.memory_available_mib < RUN_MEMORY_MIB:
        return Finding("memory", WARNING, found, "end something, or give the machine less: nullbox run --memory")
    return Finding("memory", OK, found)


def clock(facts: HostFacts) -> Finding:
    """A clock that is behind makes builds, certificates and logs wrong."""
    if facts.now < max(BUILT, facts.newest_file):
        return Finding("clock", FAILURE, "it is behind files that are here", "set it: timedatectl set-ntp true")
    return Finding("clock", OK, "plausible")


def socket(facts: HostFacts) -> Finding:
    """Where the machine of `nullbox run` is reached."""
    if len(facts.socket.encode()) > LONGEST_SOCKET:
        advice = "move the checkout to a shorter path: a socket's path holds 107 bytes"
        return Finding("socket", FAILURE, f"{facts.socket} is too long", advice)
    if facts.machine == "answers":
        return Finding("socket", OK, f"{facts.socket} answers")
    if facts.machine == "none":
        return Finding("socket", OK, "no machine runs here")
    advice = "`nullbox stop` clears it away; build/run/relay.log says what happened"
    return Finding("socket", WARNING, f"{facts.socket}: {facts.machine}", advice)


CHECKS: Sequence[Callable[[HostFacts], Finding]] = (
    virtualization,
    qemu,
    python,
    packages,
    build,
    permissions,
    namespaces,
    cgroups,
    nftables,
    tun,
    disk,
    memory,
    clock,
    socket,
)


def examine(facts: HostFacts) -> list[Finding]:
    """All checks, in their order."""
    return [check(facts) for check in CHECKS]

"""What the gateway says about the machine. Effects: reads /proc, /sys and /dev; nothing is changed."""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path
from sys import version_info
from typing import Any

from nullbox import __version__
from nullbox.protocols.layout import Layout

PROTOCOL = 1
"""Version of the gateway's protocol. Grows when a method or a field goes away or changes its meaning."""

ISOLATION = {
    "krun": "each agent in its own microVM",
    "process": "NONE: the process driver is no isolation boundary; for development only",
}


def acceleration(proc: Path = Path("/proc"), dev: Path = Path("/dev")) -> dict[str, Any]:
    """Whether agents' VMs have hardware virtualization: the CPU's flag and the device, both needed."""
    flags: set[str] = set()
    emulated = False
    try:
        for line in (proc / "cpuinfo").read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "flags":
                flags = set(value.split())
            elif key.strip() == "model name" and "QEMU" in value:
                emulated = True
    except OSError:
        pass
    extension = next((flag for flag in ("svm", "vmx") if flag in flags), None)
    return {"kvm": (dev / "kvm").exists(), "extension": extension, "emulated_cpu": emulated}


def uptime(proc: Path = Path("/proc")) -> float | None:
    """Seconds since the machine booted; None if it cannot be told."""
    try:
        return float((proc / "uptime").read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def memory(proc: Path = Path("/proc")) -> dict[str, int]:
    """`total_mib` and `used_mib` of the machine; used is `MemTotal` less `MemAvailable` (proc_meminfo(5)).

    Empty if it cannot be told.
    """
    try:
        rows = (line.partition(":") for line in (proc / "meminfo").read_text().splitlines())
        kib = {name: int(rest.split()[0]) for name, _, rest in rows if rest.split()}
        return {"total_mib": kib["MemTotal"] // 1024, "used_mib": (kib["MemTotal"] - kib["MemAvailable"]) // 1024}
    except (OSError, ValueError, KeyError):
        return {}


def controllers(sys: Path = Path("/sys")) -> list[str]:
    """The cgroup v2 controllers of the machine (Documentation/admin-guide/cgroup-v2.rst); none without cgroup v2."""
    try:
        return (sys / "fs/cgroup/cgroup.controllers").read_text().split()
    except OSError:
        return []


def boot_id(proc: Path = Path("/proc")) -> str:
    """The kernel's name for this boot (random(4)); empty if it cannot be told."""
    try:
        return (proc / "sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def record(path: Path) -> dict[str, Any] | None:
    """What PID 1 left about the state or the uplink; None where there is no PID 1 of ours."""
    try:
        found = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def records(layout: Layout) -> dict[str, Any]:
    """What only a machine has whose PID 1 is ours: `machine_id`, `state`, `uplink`; each only if it is there."""
    found: dict[str, Any] = {}
    with contextlib.suppress(OSError):
        found["machine_id"] = layout.machine_id.read_text().strip()
    for name, path in (("state", layout.state_record), ("uplink", layout.uplink_record)):
        if (kept := record(path)) is not None:
            found[name] = kept
    return found


def kernel_crash(layout: Layout) -> str | None:
    """The last words of the kernel of the boot before this one, if it crashed (see `bootstrap.crash`)."""
    try:
        return layout.last_kernel_crash.read_text(errors="replace")[-4096:]
    except OSError:
        return None


def versions() -> dict[str, Any]:
    """The answer to `version`."""
    return {
        "version": __version__,
        "protocol": PROTOCOL,
        "kernel": os.uname().release,
        "python": ".".join(map(str, version_info[:3])),
    }


def find_port(name: str, sys: Path = Path("/sys"), dev: Path = Path("/dev")) -> Path | None:
    """The device of the virtio-serial port of that name (sysfs: class/virtio-ports/*/name); None without one."""
    for entry in sorted((sys / "class" / "virtio-ports").glob("*/name")):
        try:
            if entry.read_text().strip() == name:
                return dev / entry.parent.name
        except OSError:
            continue
    return None

"""Effects: what a plan has to know about this machine, read from /proc, the cgroups and libkrun."""

from __future__ import annotations

import os
from pathlib import Path

from nullbox.cage.cgroup import CgroupTree
from nullbox.cage.plan import HostFacts
from nullbox.protocols.errors import ErrorCode, NullBoxError


def total_memory_mib(meminfo: str) -> int:
    """`MemTotal` of the text of /proc/meminfo (proc_meminfo(5)), in MiB. Raises ValueError: it is not there."""
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        if name == "MemTotal":
            return int(rest.split()[0]) // 1024
    raise ValueError("no MemTotal in /proc/meminfo")


def is_emulated(cpuinfo: str) -> bool:
    """Whether the text of /proc/cpuinfo (proc_cpuinfo(5)) is of a processor that QEMU emulates.

    A guest under KVM shows its host's model name, or one that names KVM.
    """
    names = (line for line in cpuinfo.splitlines() if line.startswith("model name"))
    return any("QEMU" in name or "TCG" in name for name in names)


def committed_mib(cgroups: CgroupTree, apart_from: str) -> int:
    """What the other VMs' cgroups may use together, in MiB. One without a limit promises nothing."""
    total = 0
    for agent in cgroups.agents():
        if agent != apart_from:
            try:
                limit = (cgroups.cgroup(agent).path / "memory.max").read_text().strip()
            except OSError:
                continue
            total += int(limit) >> 20 if limit.isdecimal() else 0
    return total


def gather(agent: str, cgroups: CgroupTree, library_dir: Path) -> HostFacts:
    """The facts for planning `agent`'s VM.

    library_dir: where to look for libkrun before anywhere else.

    Raises:
        NullBoxError: `unavailable`, there is no usable libkrun.
    """
    from pykrun import Library

    bundled = library_dir / "libkrun.so"
    try:
        library = Library(str(bundled)) if bundled.exists() else Library.find()
    except OSError as error:
        raise NullBoxError(ErrorCode.UNAVAILABLE, f"cannot load libkrun: {error}") from error
    return HostFacts(
        cpus=os.cpu_count() or 1,
        memory_mib=total_memory_mib(Path("/proc/meminfo").read_text()),
        committed_mib=committed_mib(cgroups, agent),
        functions=library.functions,
        library=library.path,
        emulated=is_emulated(Path("/proc/cpuinfo").read_text()),
    )

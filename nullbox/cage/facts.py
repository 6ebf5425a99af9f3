"""Effects: what a plan has to know about this machine, read from /proc, the cgroups and libkrun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from nullbox.cage.cgroup import CgroupTree
from nullbox.cage.plan import HostFacts
from nullbox.cage.volumes import Volumes
from nullbox.protocols.errors import ErrorCode, NullBoxError
from pykrun.elf import exported
from pykrun.functions import FUNCTIONS


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


def libkrun(library_dir: Path) -> tuple[str, frozenset[str]]:
    """The library that a VMM is to load, and what it exports. Nothing is loaded into this process: an actor would keep
    some 60 MB mapped for a list of names.

    library_dir: where to look before anywhere else.

    Raises:
        NullBoxError: `unavailable`, there is no usable libkrun.
    """
    bundled = library_dir / "libkrun.so"
    try:
        if bundled.exists():
            return str(bundled), frozenset(FUNCTIONS) & exported(bundled)
        found = subprocess.run(
            [sys.executable, "-m", "pykrun"], capture_output=True, text=True, timeout=60, check=False
        )
        if found.returncode != 0:
            raise OSError(found.stderr.strip() or f"python -m pykrun ended with {found.returncode}")
        told = json.loads(found.stdout)
        return str(told["path"]), frozenset(told["functions"])
    except (OSError, ValueError, KeyError, subprocess.TimeoutExpired) as error:
        raise NullBoxError(ErrorCode.UNAVAILABLE, f"cannot use libkrun: {error}") from error


def gather(agent: str, cgroups: CgroupTree, library_dir: Path, data: Path) -> HostFacts:
    """The facts for planning `agent`'s VM. library_dir: see `libkrun`. data: the tree behind `/data`.

    Raises:
        NullBoxError: `unavailable`, there is no usable libkrun.
    """
    library, functions = libkrun(library_dir)
    return HostFacts(
        cpus=os.cpu_count() or 1,
        memory_mib=total_memory_mib(Path("/proc/meminfo").read_text()),
        committed_mib=committed_mib(cgroups, agent) + Volumes(data).used_mib(),
        functions=functions,
        library=library,
        emulated=is_emulated(Path("/proc/cpuinfo").read_text()),
    )

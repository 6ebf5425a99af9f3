"""From the percentages and mebibytes of a manifest to vCPUs and cgroup limits. Pure arithmetic.

`max_cpu_percent` is a share of the whole machine: 40 on 4 CPUs is the work of 1.6 CPUs. The guest gets as many vCPUs as
that share touches, and `cpu.max` cuts it to size. `max_memory_mb` is the guest's own RAM; the cgroup allows
`OVERHEAD_MIB` more for the VMM, which a guest cannot use.

Sources: Linux, Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

from dataclasses import dataclass

from nullbox.protocols.errors import ErrorCode, NullBoxError

PERIOD_US = 100_000
"""Length of a period of `cpu.max`, in microseconds: the kernel's default."""

OVERHEAD_MIB = 64
"""Memory of a VMM besides its guest's RAM: its Python, libkrun, device queues, page tables, socket buffers."""

RESERVE_MIB = 160
"""Memory that agents never get: the kernel's and the control plane's."""

VOLUME_MIB = 32
"""Size of one volume below `/data`, see `grants.volume`. What a VMM writes there is memory of its cgroup, so the cgroup
of an agent allows as much again for each volume that it may write to: a full volume is an error of the writer's file
system, and never the end of its VM."""

VOLUME_INODES = 4096
"""Files and folders that one volume holds."""

MAX_TASKS = 128
"""Threads of one VMM: one per vCPU and a few per device. It starts no process."""

MAX_VCPUS = 64


@dataclass(frozen=True, slots=True)
class Limits:
    """What the cgroup of a VM allows, and what the VM is built with.

    ram_mib, memory_max_mib: mebibytes. cpu_quota_us of every `PERIOD_US`.
    """

    vcpus: int
    ram_mib: int
    cpu_quota_us: int
    memory_max_mib: int
    tasks: int = MAX_TASKS

    def cgroup_files(self) -> dict[str, str]:
        """File of the cgroup → what to write, in this order. A machine without swap has no `memory.swap.max`."""
        return {
            "memory.max": str(self.memory_max_mib << 20),
            "memory.swap.max": "0",
            "memory.oom.group": "1",
            "cpu.max": f"{self.cpu_quota_us} {PERIOD_US}",
            "pids.max": str(self.tasks),
        }


def limits(cpu_percent: int, memory_mib: int, *, cpus: int, written_volumes: int = 0) -> Limits:
    """The limits of an agent on a machine with that many CPUs, which may write to that many volumes."""
    quota = max(1_000, cpu_percent * cpus * PERIOD_US // 100)
    vcpus = max(1, min(-(-cpu_percent * cpus // 100), cpus, MAX_VCPUS))
    return Limits(vcpus, memory_mib, quota, memory_mib + OVERHEAD_MIB + written_volumes * VOLUME_MIB)


def check_memory(wanted: Limits, *, total_mib: int, committed_mib: int) -> None:
    """Refuse what the machine does not have: guests touch all of their RAM sooner or later.

    committed_mib: the `memory_max_mib` of all other VMs that run or start.

    Raises:
        NullBoxError: `unavailable`, with the numbers.
    """
    available = total_mib - RESERVE_MIB - committed_mib
    if wanted.memory_max_mib > available:
        raise NullBoxError(
            ErrorCode.UNAVAILABLE,
            f"not enough memory: the agent needs {wanted.memory_max_mib} MiB ({wanted.ram_mib} for its guest and "
            f"{wanted.memory_max_mib - wanted.ram_mib} for the VMM and what it writes), and {max(0, available)} MiB "
            f"are left of {total_mib} ({committed_mib} are promised to other agents, {RESERVE_MIB} kept for the "
            "system); lower max_memory_mb or stop an agent",
            {"needed_mib": wanted.memory_max_mib, "available_mib": max(0, available), "total_mib": total_mib},
        )

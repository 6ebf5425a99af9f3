"""The mount table: all that is ever mounted on the machine, in order; /var, which may be a disk, is in `state`.

The root is read-only SquashFS. Nothing here is both writable and executable (W^X for files): what can be written
is `noexec`, what can be executed is the root, which cannot be written.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# mount(2)
MS_NOSUID: Final = 2
MS_NODEV: Final = 4
MS_NOEXEC: Final = 8
MS_NOATIME: Final = 1024

HARDENED: Final = MS_NOSUID | MS_NODEV | MS_NOEXEC
EBUSY_IS_FINE: Final = frozenset({"/dev"})
"""The kernel may have mounted devtmpfs itself (CONFIG_DEVTMPFS_MOUNT)."""


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the table: the arguments of mount(2), and why it is there.

    create: the mount point is a directory of an earlier mount and has to be made first.
    source: the device; a file system without one is named by its type.
    """

    target: str
    fstype: str
    flags: int
    data: str
    why: str
    create: bool = False
    source: str = ""


MOUNTS: Final = (
    Mount("/proc", "proc", HARDENED, "hidepid=invisible", "processes; a VMM's uid sees only itself"),
    Mount("/sys", "sysfs", HARDENED, "", "devices, virtio ports, KVM parameters"),
    Mount("/dev", "devtmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755", "device nodes: kvm, net/tun, vport*"),
    Mount("/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "mode=0600,ptmxmode=0000", "consoles", create=True),
    Mount("/dev/shm", "tmpfs", HARDENED, "mode=1777,size=10%", "POSIX shared memory", create=True),
    Mount("/tmp", "tmpfs", HARDENED, "mode=1777,size=10%", "scratch"),
    Mount("/run", "tmpfs", HARDENED, "mode=0755,size=10%", "sockets, FIFOs, pid records"),
    Mount("/sys/fs/cgroup", "cgroup2", HARDENED, "nsdelegate", "resource limits and freezing of VMs"),
)

PSTORE: Final = Mount("/sys/fs/pstore", "pstore", HARDENED, "", "the last log of a kernel that crashed")
"""Mounted if the kernel has it (Documentation/admin-guide/pstore-blk.rst, ramoops.rst)."""

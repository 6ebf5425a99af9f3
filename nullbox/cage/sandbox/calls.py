"""The system calls that a sandboxed agent may not make, as tables, and as a BPF program. Pure; `privileges` loads it.

An agent here is any program, so most calls are allowed, and what reaches into the kernel's more exposed parts, or out
of the sandbox, is refused with EPERM. It makes an accident less likely; the host's kernel is shared all the same.

Sources: seccomp(2), Linux Documentation/userspace-api/seccomp_filter.rst, arch/x86/entry/syscalls/syscall_64.tbl.
"""

from __future__ import annotations

import struct
from types import MappingProxyType


def numbered(table: str) -> dict[str, int]:
    """Words in pairs, a name and its number; lines that begin with # are for the reader."""
    words = " ".join(line for line in table.splitlines() if not line.strip().startswith("#")).split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}


REFUSED = MappingProxyType(
    numbered("""
    # other file systems and namespaces
    mount 165  umount2 166  pivot_root 155  chroot 161  setns 308  unshare 272
    open_tree 428  move_mount 429  fsopen 430  fsconfig 431  fsmount 432  fspick 433
    mount_setattr 442  name_to_handle_at 303  open_by_handle_at 304  fanotify_init 300
    # other processes
    ptrace 101  process_vm_readv 310  process_vm_writev 311  pidfd_getfd 438  kcmp 312
    # parts of the kernel that have been its weak ones
    bpf 321  perf_event_open 298  userfaultfd 323  add_key 248  request_key 249  keyctl 250
    io_uring_setup 425  io_uring_enter 426  io_uring_register 427
    # the machine
    init_module 175  finit_module 313  delete_module 176  kexec_load 246  kexec_file_load 320
    reboot 169  swapon 167  swapoff 168  iopl 172  ioperm 173  acct 163  syslog 103
    settimeofday 164  clock_settime 227  adjtimex 159  clock_adjtime 305  sethostname 170
    """)
)
"""Name → number on x86-64."""

SOCKET, CLONE, CLONE3 = 41, 56, 435
FAMILIES = MappingProxyType({"unix": 1, "inet": 2, "inet6": 10, "netlink": 16})
"""Kinds of sockets. vsock would reach the host past all rules of the network; packet needs a right that is gone."""
NEW_NAMESPACES = 0x7E020080
"""The CLONE_NEW… flags of clone(2), that of time namespaces included."""

EPERM, ENOSYS = 1, 38
KILL, ERRNO, ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
ARCHITECTURE_X86_64 = 0xC000003E
X32 = 0x40000000
"""Numbers from here on are other names for the same calls."""

NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT = 0, 4, 16
"""Offsets in struct seccomp_data."""
LOAD, RETURN, EQUAL, AT_LEAST, ANY_BIT = 0x20, 0x06, 0x15, 0x35, 0x45
"""Codes of classic BPF (linux/bpf_common.h): load a word, return, and jumps if equal, not below, any bit set."""

Instruction = tuple[int, int, int, int]
"""Code, jumps if true and if not, operand: struct sock_filter."""


def program() -> tuple[Instruction, ...]:
    """The filter. Every jump is over one or a few instructions, so that none gets near classic BPF's 255."""
    refuse = (RETURN, 0, 0, ERRNO | EPERM)
    allow = (RETURN, 0, 0, ALLOW)
    families = sorted(FAMILIES.values())
    return (
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (EQUAL, 1, 0, ARCHITECTURE_X86_64),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
        (AT_LEAST, 0, 1, X32),
        refuse,
        *(each for number in sorted(REFUSED.values()) for each in ((EQUAL, 0, 1, number), refuse)),
        # Its flags lie in memory, where no filter can look; glibc then uses clone.
        (EQUAL, 0, 1, CLONE3),
        (RETURN, 0, 0, ERRNO | ENOSYS),
        (EQUAL, 0, 4, CLONE),
        (LOAD, 0, 0, FIRST_ARGUMENT_AT),
        (ANY_BIT, 0, 1, NEW_NAMESPACES),
        refuse,
        allow,
        (EQUAL, 0, len(families) + 3, SOCKET),
        (LOAD, 0, 0, FIRST_ARGUMENT_AT),
        *((EQUAL, len(families) - position, 0, family) for position, family in enumerate(families)),
        refuse,
        allow,
        allow,
    )


def encoded() -> bytes:
    """The program as the kernel reads it."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in program())

"""Kernel parameters set at boot: path below /proc/sys, value, reason. One that the kernel lacks is logged, no more.

What the kernel was built without needs no parameter: BPF system calls, core dumps, user namespaces, kexec.

Each is read back after it was set: a kernel that silently keeps another value is a warning in the log.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sysctl:
    """source: where the recommendation, or the meaning, is written."""

    name: str
    value: str
    why: str
    source: str

    @property
    def path(self) -> str:
        return "/proc/sys/" + self.name.replace(".", "/")


KSPP: Final = "https://kspp.github.io/Recommended_Settings"
KERNEL: Final = "Documentation/admin-guide/sysctl/kernel.rst"
VM: Final = "Documentation/admin-guide/sysctl/vm.rst"
IP: Final = "Documentation/networking/ip-sysctl.rst"

LOG: Final = Sysctl(
    "kernel.printk_devkmsg", "on", "none of PID 1's lines is dropped: a boot has more than 10 in 5 s", KERNEL
)
"""Set before all others, since it is about the log of the boot itself."""

SYSCTLS: Final = (
    Sysctl("kernel.kptr_restrict", "2", "kernel addresses help nobody here but an exploit", KSPP),
    Sysctl("kernel.dmesg_restrict", "1", "the kernel log is the operator's", KSPP),
    Sysctl("kernel.perf_event_paranoid", "3", "no performance counters for a VMM's uid", KSPP),
    Sysctl("kernel.yama.ptrace_scope", "3", "nobody traces anybody", KSPP),
    Sysctl("kernel.panic", "10", "reboot ten seconds after a kernel panic", KERNEL),
    Sysctl("kernel.panic_on_oops", "1", "a kernel that has gone wrong is not to be trusted", KERNEL),
    Sysctl("fs.protected_symlinks", "1", "no following of planted links in sticky directories", KSPP),
    Sysctl("fs.protected_hardlinks", "1", "no hard links to other people's files", KSPP),
    Sysctl("fs.protected_fifos", "2", "no opening of planted FIFOs", KSPP),
    Sysctl("fs.protected_regular", "2", "no opening of planted files", KSPP),
    Sysctl("fs.suid_dumpable", "0", "no dumps of privileged processes", KSPP),
    Sysctl("vm.overcommit_memory", "1", "a VM's memory is mapped whole and touched as it is used", VM),
    Sysctl("vm.watermark_scale_factor", "1", "without swap, a larger distance between the marks is agents' memory", VM),
    Sysctl("vm.percpu_pagelist_high_fraction", "2048", "no more than that lies by in lists of single processors", VM),
    Sysctl("net.ipv4.ip_forward", "0", "egress turns forwarding on, after its rules are loaded", IP),
    Sysctl("net.ipv4.conf.all.rp_filter", "1", "strict reverse-path check (RFC 3704)", IP),
    Sysctl("net.ipv4.conf.default.rp_filter", "1", "the same for TAPs made later", IP),
    Sysctl("net.ipv4.conf.all.accept_redirects", "0", "no routes from the network", IP),
    Sysctl("net.ipv4.conf.default.accept_redirects", "0", "no routes from the network", IP),
    Sysctl("net.ipv4.conf.all.send_redirects", "0", "we advise nobody", IP),
    Sysctl("net.ipv4.conf.all.accept_source_route", "0", "senders do not choose the way (RFC 7126)", IP),
    Sysctl("net.ipv4.conf.all.arp_ignore", "1", "answer ARP only for the interface's own address", IP),
    Sysctl("net.ipv4.conf.all.log_martians", "0", "senders of nonsense do not fill the log", IP),
    Sysctl("net.ipv4.tcp_syncookies", "1", "a flood of half-open connections shuts nobody out", IP),
    Sysctl("net.ipv4.tcp_rfc1337", "1", "no connection is ended by a stray reset (RFC 1337)", IP),
    Sysctl("net.ipv4.conf.all.drop_gratuitous_arp", "1", "nobody moves an address to himself by announcing it", IP),
    Sysctl("net.ipv4.icmp_echo_ignore_broadcasts", "1", "no amplification", IP),
    Sysctl(
        "net.ipv6.conf.all.disable_ipv6", "1", "the uplink speaks IPv4 only: no rule and no lease is about IPv6", IP
    ),
    Sysctl("net.ipv6.conf.default.disable_ipv6", "1", "agents' TAPs speak IPv4 only", IP),
    Sysctl("net.ipv6.conf.all.accept_ra", "0", "no routes from the network", IP),
)

RESERVE: Final = "vm.min_free_kbytes"
LEAST_RESERVE: Final = 1024
"""KiB; below it the kernel deadlocks under load (vm.rst)."""


def reserve(meminfo: str) -> Sysctl | None:
    """What the kernel keeps free for itself: a thousandth of the memory, a third of its own choice on a machine of 2
    GiB.

    meminfo: the content of /proc/meminfo (proc_meminfo(5)); None is returned for what is none.
    """
    for line in meminfo.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == "MemTotal" and words and words[0].isdigit():
            return Sysctl(RESERVE, str(max(LEAST_RESERVE, int(words[0]) // 1024)), "as much as it needs", VM)
    return None

"""Kernel parameters set at boot: path below /proc/sys, value, reason. One that the kernel lacks is logged, no more.

What the kernel was built without needs no parameter: BPF system calls, core dumps, user namespaces, kexec.

Sources: Documentation/admin-guide/sysctl and Documentation/networking/ip-sysctl.rst of the kernel, and the
recommendations of the Kernel Self-Protection Project.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Sysctl:
    name: str
    value: str
    why: str

    @property
    def path(self) -> str:
        return "/proc/sys/" + self.name.replace(".", "/")


SYSCTLS: Final = (
    Sysctl("kernel.kptr_restrict", "2", "kernel addresses help nobody here but an exploit"),
    Sysctl("kernel.dmesg_restrict", "1", "the kernel log is the operator's"),
    Sysctl("kernel.perf_event_paranoid", "3", "no performance counters for a VMM's uid"),
    Sysctl("kernel.yama.ptrace_scope", "3", "nobody traces anybody"),
    Sysctl("kernel.panic", "10", "reboot ten seconds after a kernel panic"),
    Sysctl("kernel.panic_on_oops", "1", "a kernel that has gone wrong is not to be trusted"),
    Sysctl("fs.protected_symlinks", "1", "no following of planted links in sticky directories"),
    Sysctl("fs.protected_hardlinks", "1", "no hard links to other people's files"),
    Sysctl("fs.protected_fifos", "2", "no opening of planted FIFOs"),
    Sysctl("fs.protected_regular", "2", "no opening of planted files"),
    Sysctl("fs.suid_dumpable", "0", "no dumps of privileged processes"),
    Sysctl("vm.overcommit_memory", "1", "a VM's memory is mapped whole and touched as it is used"),
    Sysctl("net.ipv4.ip_forward", "0", "egress turns forwarding on, after its rules are loaded"),
    Sysctl("net.ipv4.conf.all.rp_filter", "1", "strict reverse-path check (RFC 3704)"),
    Sysctl("net.ipv4.conf.default.rp_filter", "1", "the same for TAPs made later"),
    Sysctl("net.ipv4.conf.all.accept_redirects", "0", "no routes from the network"),
    Sysctl("net.ipv4.conf.default.accept_redirects", "0", "no routes from the network"),
    Sysctl("net.ipv4.conf.all.send_redirects", "0", "we advise nobody"),
    Sysctl("net.ipv4.conf.all.accept_source_route", "0", "senders do not choose the way (RFC 7126)"),
    Sysctl("net.ipv4.conf.all.arp_ignore", "1", "answer ARP only for the interface's own address"),
    Sysctl("net.ipv4.icmp_echo_ignore_broadcasts", "1", "no amplification"),
    Sysctl("net.ipv6.conf.default.disable_ipv6", "1", "agents' TAPs speak IPv4 only"),
    Sysctl("net.ipv6.conf.all.accept_ra", "0", "no routes from the network"),
)

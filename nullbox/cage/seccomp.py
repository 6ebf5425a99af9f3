"""The system calls of a VMM: which are allowed, which are refused, which end it; as a table, and as a BPF program.
Pure.

`program()` compiles the table for the kernel's classic BPF machine, which looks at one system call: its architecture,
its number, and its arguments. It is little enough to own: libseccomp would be one more library in every VMM's memory,
and its Python binding looks for it with tools that the image does not have.

Three verdicts:
- `ALLOWED`: what libkrun, glibc's threads and virtio-fs need. Some only with certain arguments.
- `DEADLY`: what no VMM ever does, and what somebody who has taken one over would do first. The kernel ends the process
  with SIGSYS, and the operator reads that in the agent's log and in the tree.
- everything else fails with EPERM, as if the user lacked the right; `ENOSYS_FOR` lists calls that glibc then does
  without.

Sources: seccomp(2), Linux Documentation/userspace-api/seccomp_filter.rst, linux/filter.h, linux/seccomp.h,
arch/x86/entry/syscalls/syscall_64.tbl.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from types import MappingProxyType


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _numbered(table: str) -> dict[str, int]:
    """Lines of a first number and the names that follow it, one number each."""
    numbers: dict[str, int] = {}
    for line in table.strip().splitlines():
        first, *names = line.split()
        numbers |= {name: number for number, name in enumerate(names, int(first))}
    return numbers


NUMBERS = MappingProxyType(
    _numbered("""
        0   read write open close stat fstat lstat poll lseek mmap mprotect munmap brk rt_sigaction rt_sigprocmask
        15  rt_sigreturn ioctl pread64 pwrite64 readv writev access pipe select sched_yield mremap msync mincore
        28  madvise shmget shmat shmctl dup dup2 pause nanosleep getitimer alarm setitimer getpid sendfile socket
        42  connect accept sendto recvfrom sendmsg recvmsg shutdown bind listen getsockname getpeername socketpair
        54  setsockopt getsockopt clone fork vfork execve exit wait4 kill uname semget semop semctl shmdt msgget
        69  msgsnd msgrcv msgctl fcntl flock fsync fdatasync truncate ftruncate getdents getcwd chdir fchdir rename
        83  mkdir rmdir creat link unlink symlink readlink chmod fchmod chown fchown lchown umask gettimeofday
        97  getrlimit getrusage sysinfo times ptrace getuid syslog getgid setuid setgid geteuid getegid setpgid
        110 getppid getpgrp setsid setreuid setregid getgroups setgroups setresuid getresuid setresgid getresgid
        121 getpgid setfsuid setfsgid getsid capget capset
        131 sigaltstack
        133 mknod
        137 statfs fstatfs
        155 pivot_root
        157 prctl arch_prctl adjtimex setrlimit chroot sync acct settimeofday mount umount2 swapon swapoff reboot
        170 sethostname setdomainname iopl ioperm
        175 init_module delete_module
        186 gettid readahead setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr
        196 flistxattr removexattr lremovexattr fremovexattr tkill time futex sched_setaffinity sched_getaffinity
        213 epoll_create
        217 getdents64 set_tid_address restart_syscall
        227 clock_settime clock_gettime clock_getres clock_nanosleep exit_group epoll_wait epoll_ctl tgkill
        246 kexec_load
        248 add_key request_key keyctl
        257 openat mkdirat mknodat fchownat
        262 newfstatat unlinkat renameat linkat symlinkat readlinkat fchmodat faccessat pselect6 ppoll unshare
        273 set_robust_list
        280 utimensat epoll_pwait signalfd timerfd_create eventfd fallocate timerfd_settime timerfd_gettime
        288 accept4 signalfd4 eventfd2 epoll_create1 dup3 pipe2 inotify_init1 preadv pwritev
        298 perf_event_open recvmmsg fanotify_init fanotify_mark prlimit64 name_to_handle_at open_by_handle_at
        306 syncfs sendmmsg setns
        310 process_vm_readv process_vm_writev kcmp finit_module sched_setattr sched_getattr renameat2 seccomp
        318 getrandom memfd_create kexec_file_load bpf execveat userfaultfd membarrier mlock2 copy_file_range
        327 preadv2 pwritev2
        332 statx
        334 rseq
        424 pidfd_send_signal io_uring_setup io_uring_enter io_uring_register open_tree move_mount fsopen fsconfig
        432 fsmount fspick pidfd_open clone3 close_range openat2 pidfd_getfd faccessat2
        441 epoll_pwait2 mount_setattr
        444 landlock_create_ruleset landlock_add_rule landlock_restrict_self memfd_secret
        452 fchmodat2
    """)
)
"""Name → number on x86-64, of the calls that the table below names."""

AF_UNIX = 1
CLONE_THREAD = 0x10000
PROT_EXEC = 4
KVM, TERMINALS_AND_TUN = 0xAE00, 0x5400
"""ioctl(2) commands by the group that the second lowest byte names."""
PR_SET_NAME, PR_GET_NAME = 15, 16


@dataclass(frozen=True, slots=True)
class When:
    """A call is allowed only if the lower 32 bits of an argument, cut by the mask, are one of these; else
    `otherwise`."""

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    otherwise: str = "refused"


MEMORY_AND_THREADS = _names("""
    munmap mremap madvise brk msync futex set_robust_list rseq set_tid_address exit exit_group gettid getpid sched_yield
    sched_getaffinity membarrier sigaltstack rt_sigaction rt_sigprocmask rt_sigreturn restart_syscall tgkill
""")
FILES = _names("""
    read write pread64 pwrite64 readv writev preadv pwritev preadv2 pwritev2 lseek close dup dup3 fcntl openat
    newfstatat fstat stat lstat statx statfs fstatfs getdents64 readlinkat readlink faccessat faccessat2 access mkdirat
    unlinkat renameat renameat2 linkat symlinkat mknodat fchmod fchmodat fchmodat2 fchownat fchown utimensat truncate
    ftruncate fallocate fsync fdatasync syncfs copy_file_range sendfile flock umask getcwd getxattr lgetxattr fgetxattr
    setxattr lsetxattr fsetxattr listxattr llistxattr flistxattr removexattr lremovexattr fremovexattr
    open mkdir rmdir rename link unlink symlink chmod
""")
"""By descriptor, or below the folders of the jail, which mounts and Landlock see to."""
WAITING = _names("""
    poll ppoll select pselect6 epoll_create1 epoll_ctl epoll_wait epoll_pwait eventfd2 timerfd_create timerfd_settime
    pipe2 nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday time
""")
SOCKETS = _names("""
    connect accept accept4 bind listen sendto recvfrom sendmsg recvmsg shutdown getsockname getpeername getsockopt
    setsockopt socketpair
""")
"""Of Unix sockets: no other can be made (`LIMITED`), and none is inherited."""
QUESTIONS = _names("getuid geteuid getgid getegid capget uname sysinfo getrandom getrlimit getrusage")
ALLOWED = MEMORY_AND_THREADS | FILES | WAITING | SOCKETS | QUESTIONS

LIMITED = MappingProxyType(
    {
        "socket": When(0, (AF_UNIX,), otherwise="deadly"),
        "clone": When(0, (CLONE_THREAD,), mask=CLONE_THREAD),
        "ioctl": When(1, (KVM, TERMINALS_AND_TUN), mask=0xFF00),
        "mmap": When(2, (0,), mask=PROT_EXEC),
        "mprotect": When(2, (0,), mask=PROT_EXEC),
        "prctl": When(0, (PR_SET_NAME, PR_GET_NAME)),
        "prlimit64": When(2, (0,)),  # reading limits: the address of new ones is null
    }
)
"""Calls that are allowed with certain arguments only. `clone` makes threads and no process; no memory becomes code that
was not code before the jail was closed; no file changes its flags or its project, and with that its quota."""

DEADLY = _names("""
    execve execveat ptrace process_vm_readv process_vm_writev pidfd_getfd fork vfork
    mount umount2 pivot_root chroot open_tree move_mount fsopen fsconfig fsmount fspick mount_setattr setns unshare
    setuid setgid setreuid setregid setresuid setresgid setfsuid setfsgid setgroups capset seccomp
    bpf perf_event_open userfaultfd io_uring_setup io_uring_enter io_uring_register add_key request_key keyctl
    init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff iopl ioperm acct
    settimeofday clock_settime adjtimex sethostname setdomainname
    name_to_handle_at open_by_handle_at fanotify_init
""")

ENOSYS_FOR = frozenset({"clone3"})
"""glibc makes threads with `clone3`, whose flags lie in memory where a filter cannot look, and with `clone` without
it."""

EPERM, ENOSYS = 1, 38
RET_KILL_PROCESS, RET_ERRNO, RET_ALLOW = 0x80000000, 0x00050000, 0x7FFF0000
VERDICTS = MappingProxyType(
    {
        "allowed": RET_ALLOW,
        "deadly": RET_KILL_PROCESS,
        "refused": RET_ERRNO | EPERM,
        "absent": RET_ERRNO | ENOSYS,
    }
)
"""What the filter answers → the kernel's word for it."""

AUDIT_ARCH_X86_64 = 0xC000003E
X32_BIT = 0x40000000
"""Set in the numbers of the x32 ABI, which would be other names for the same calls."""

# struct seccomp_data: number, architecture, instruction pointer, six arguments of 64 bits, little-endian.
NUMBER_AT, ARCHITECTURE_AT, ARGUMENTS_AT = 0, 4, 16

# linux/filter.h, linux/bpf_common.h
LOAD, AND, RETURN = 0x20, 0x54, 0x06
JUMP_EQUAL, JUMP_GREATER_OR_EQUAL = 0x15, 0x35

Instruction = tuple[int, int, int, int]
"""code, jump if true, jump if false, operand: struct sock_filter."""


def verdict(name: str) -> str:
    """What the table says about a call, with arguments for which a limited one is not allowed: a key of `VERDICTS`."""
    if name in LIMITED:
        return LIMITED[name].otherwise
    if name in ALLOWED:
        return "allowed"
    if name in DEADLY:
        return "deadly"
    return "absent" if name in ENOSYS_FOR else "refused"


def program() -> list[Instruction]:
    """The filter as instructions.

    The answer follows each comparison at once, since a jump of classic BPF reaches 255 instructions. How long the
    program is costs nothing: for a call that it allows whatever the arguments, the kernel remembers that (seccomp's
    action cache).
    """
    code: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (JUMP_EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        _return("deadly"),
        (LOAD, 0, 0, NUMBER_AT),
        (JUMP_GREATER_OR_EQUAL, 0, 1, X32_BIT),
        _return("deadly"),
    ]
    for name in sorted(LIMITED):
        code += _limited(NUMBERS[name], LIMITED[name])
    for names, answer in ((ALLOWED, "allowed"), (DEADLY, "deadly"), (ENOSYS_FOR, "absent")):
        code += _block([NUMBERS[name] for name in sorted(names, key=NUMBERS.__getitem__)], answer)
    return [*code, _return("refused")]


def encoded(instructions: list[Instruction]) -> bytes:
    """The instructions as the kernel reads them."""
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)


def _return(answer: str) -> Instruction:
    return (RETURN, 0, 0, VERDICTS[answer])


def _block(numbers: list[int], answer: str) -> list[Instruction]:
    """Runs of neighbouring numbers as one pair of comparisons each; a match returns the answer."""
    code: list[Instruction] = []
    for low, high in _runs(numbers):
        if low == high:
            code += [(JUMP_EQUAL, 0, 1, low), _return(answer)]
        else:
            code += [(JUMP_GREATER_OR_EQUAL, 0, 2, low), (JUMP_GREATER_OR_EQUAL, 1, 0, high + 1), _return(answer)]
    return code


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


def _limited(number: int, when: When) -> list[Instruction]:
    """If it is this call: load the argument, compare, and answer; else go on with the number still loaded."""
    values = len(when.values)
    body: list[Instruction] = [
        (LOAD, 0, 0, ARGUMENTS_AT + 8 * when.argument),
        (AND, 0, 0, when.mask),
        # Each value that matches jumps over the rest of the values and over the refusal.
        *((JUMP_EQUAL, values - position, 0, value) for position, value in enumerate(when.values)),
        _return(when.otherwise),
        _return("allowed"),
    ]
    return [(JUMP_EQUAL, 0, len(body), number), *body]

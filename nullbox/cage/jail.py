"""Confine the process that is about to become a VMM (edge module: namespaces, mounts, ids, Landlock, seccomp).

A VMM and its guest are one security context, so what the guest may not do is taken from this process before the guest
exists. Each step is a function of its own in `STEPS`, in order; a step that fails raises, and the runner then starts
no VM: a jail that is not whole is none. The last step reads back from the kernel what the ones before have done.

After `apply` no file of the host can be opened, so all that is needed later has to be loaded before.

Sources: unshare(2), pivot_root(2), capabilities(7), prctl(2), setrlimit(2), seccomp(2), landlock(7), libkrun's README
("Security model"). docs/design/jail.md says which attack meets which step.
"""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import struct
from collections.abc import Callable
from pathlib import Path

from nullbox.cage import landlock, mounts, seccomp
from nullbox.cage.vmplan import JailSpec

PR_SET_DUMPABLE, PR_CAPBSET_READ, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 4, 23, 24, 38
PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
SYS_CAPSET, SYS_SECCOMP = 126, 317
CAPABILITY_VERSION_3 = 0x20080522
SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS, CLONE_NEWIPC = 0x20000, 0x2000000, 0x4000000, 0x8000000

KEPT_DESCRIPTORS = 3
"""Standard input, output and error. Everything from here on is closed, but what the caller keeps."""

OPEN_FILES = 65_536
"""Descriptors of one VMM: virtio-fs holds one for every file that the guest's kernel remembers."""

ROOT_OPTIONS = "mode=755,size=64k,nr_inodes=64"
"""The root of the jail: mount points and copies of device nodes."""


def apply(spec: JailSpec, keep: tuple[int, ...] = ()) -> None:
    """Take every step in order. keep: descriptors that stay open.

    Raises:
        OSError: a step could not be done; its name is in the message.
    """
    close_descriptors(keep)
    for name, step in STEPS:
        try:
            step(spec)
        except OSError as error:
            raise OSError(error.errno, f"{name}: {error.strerror}") from error
        except ValueError as error:  # of setrlimit(2), which Python reports so
            raise OSError(errno.EPERM, f"{name}: {error}") from error


def close_descriptors(keep: tuple[int, ...] = ()) -> None:
    """Nothing that this process inherited stays open: an actor's sockets are no business of a guest."""
    low = KEPT_DESCRIPTORS
    for descriptor in sorted(keep):
        os.closerange(low, descriptor)
        low = descriptor + 1
    os.closerange(low, resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def limit_resources(_: JailSpec) -> None:
    """No core dump, which would hold the guest's whole memory; no locked memory; a bound on descriptors."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    resource.setrlimit(resource.RLIMIT_MSGQUEUE, (0, 0))
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, OPEN_FILES))
    except ValueError:  # more than the host lets even root have: then what it does let
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def leave_namespaces(_: JailSpec) -> None:
    """Own mounts, System V objects and POSIX queues, host name, and root of cgroups.

    The network namespace stays the host's, because libkrun opens the TAP by its name; no socket but Unix ones can be
    made.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.unshare(CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP))
    mounts.make_private()


def change_root(spec: JailSpec) -> None:
    """A root that holds the folders of the plan, two device nodes and this process's own /proc, and is read-only."""
    mounts.mount("nullbox", spec.root, "tmpfs", mounts.MS_NOSUID | mounts.MS_NOEXEC, ROOT_OPTIONS)
    for bind in spec.binds:
        target = spec.root + bind.target
        Path(target).mkdir(parents=True)
        with mounts.opened(bind.base, bind.below) as folder:
            mounts.bind(folder, target, read_only=bind.use in ("read", "connect"))
    for device in spec.devices:
        _copy_device(device, spec.root + device, spec.uid)
    proc = spec.root + "/proc"
    Path(proc).mkdir()
    # libkrun opens files anew through /proc/self/fd. Other processes, and all that is not a process, are not in it.
    mounts.mount("proc", proc, "proc", mounts.HARDENED | mounts.MS_RDONLY, "hidepid=invisible,subset=pid")
    flags = mounts.MS_REMOUNT | mounts.MS_BIND | mounts.MS_RDONLY | mounts.MS_NOSUID | mounts.MS_NOEXEC
    mounts.mount("none", spec.root, "", flags)
    mounts.pivot(spec.root)


def become_user(spec: JailSpec) -> None:
    """The agent's user and group, and no capability, now or ever: neither held nor inheritable nor in the bounding
    set."""
    for capability in range(capability_count()):
        _prctl(PR_CAPBSET_DROP, capability)
    _prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL)
    os.setgroups(spec.groups)
    os.setresgid(spec.uid, spec.uid, spec.uid)
    os.setresuid(spec.uid, spec.uid, spec.uid)
    header, nothing = struct.pack("=Ii", CAPABILITY_VERSION_3, 0), bytes(24)
    _checked(ctypes.CDLL(None, use_errno=True).syscall(SYS_CAPSET, header, nothing))


def no_new_privileges(_: JailSpec) -> None:
    """No setuid file and no file capability ever raises this process again."""
    _prctl(PR_SET_NO_NEW_PRIVS, 1)


def not_dumpable(_: JailSpec) -> None:
    """Other processes of the same user may not attach to it or read its memory."""
    _prctl(PR_SET_DUMPABLE, 0)


def restrict_files(spec: JailSpec) -> None:
    """Landlock: each folder for its use only. /proc is for this process's own descriptors."""
    rules = [(bind.target, bind.use) for bind in spec.binds] + [(device, "device") for device in spec.devices]
    landlock.restrict([*rules, ("/proc", "read")])


def filter_system_calls(_: JailSpec) -> None:
    """seccomp: the calls of the table, for every thread that there is and will be."""
    code = seccomp.encoded(seccomp.program())
    buffer = ctypes.create_string_buffer(code, len(code))
    # struct sock_fprog: a length in instructions, padding, a pointer.
    head = struct.pack("=H6xQ", len(code) // 8, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    _checked(libc.syscall(SYS_SECCOMP, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, head))


def verify(spec: JailSpec) -> None:
    """What the kernel says of this process (proc_pid_status(5)). Raises OSError where it is not what the steps
    promised."""
    found = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    ids = f"{spec.uid}\t{spec.uid}\t{spec.uid}\t{spec.uid}"
    none = "0" * 16
    wanted = {"Uid": ids, "Gid": ids, "NoNewPrivs": "1", "Seccomp": "2"}
    wanted |= dict.fromkeys(("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"), none)
    for name, value in wanted.items():
        if found.get(name, "").strip() != value:
            raise OSError(errno.EPERM, f"{name} is {found.get(name, 'not there').strip()!r}, not {value!r}")


Step = Callable[[JailSpec], None]

STEPS: tuple[tuple[str, Step], ...] = (
    ("limit resources", limit_resources),
    ("make namespaces", leave_namespaces),
    ("change the root", change_root),
    ("give up the user and all capabilities", become_user),
    ("set no_new_privs", no_new_privileges),
    ("turn ptrace by others off", not_dumpable),
    ("restrict files with Landlock", restrict_files),
    ("filter system calls", filter_system_calls),
    ("verify the jail", verify),
)
"""Name, for the message of a failure → what is done. Each step costs privileges that the ones before it needed."""


def capability_count() -> int:
    """How many capabilities this kernel knows: one after the last is EINVAL."""
    libc = ctypes.CDLL(None, use_errno=True)
    capability = 0
    while libc.prctl(PR_CAPBSET_READ, ctypes.c_ulong(capability), 0, 0, 0) >= 0:
        capability += 1
    return capability


def _copy_device(device: str, target: str, uid: int) -> None:
    """A node of the same device that this user alone may open: the host's own node keeps its owner and mode."""
    found = Path(device).stat()
    Path(target).parent.mkdir(parents=True, exist_ok=True)
    os.mknod(target, 0o600 | 0o020000, found.st_rdev)
    os.chown(target, uid, uid)


def _prctl(option: int, value: int) -> None:
    _checked(ctypes.CDLL(None, use_errno=True).prctl(option, ctypes.c_ulong(value), 0, 0, 0))


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

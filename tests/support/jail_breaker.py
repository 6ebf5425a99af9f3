"""A process in the jail of a VMM that does what somebody who had taken the VMM over would try. One attempt a process.

    python jail_breaker.py SPEC.json ATTEMPT

prints one line: `done`, or the name of the error that the kernel gave. A process that the kernel ends says nothing; its
parent sees the signal. `ready` comes first, so that a jail that could not be built is never taken for one that held.
"""

from __future__ import annotations

import ctypes
import errno
import json
import mmap
import os
import resource
import socket
import struct
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nullbox.cage import jail, quota
from nullbox.cage.planfile import jail_from_plain

libc = ctypes.CDLL(None, use_errno=True)
PARENT = os.getppid()
SECRET = int(os.environ.get("SECRET", "-1"))
"""Descriptor that the parent leaves open."""
PTRACE_ATTACH = 16
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
X32_GETPID = 0x40000000 | 39


def call(function: Any, *arguments: Any) -> None:
    if function(*arguments) < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def system_call(number: int, *arguments: Any) -> None:
    call(libc.syscall, number, *arguments)


def write(path: str) -> None:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o644))


def read(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    os.read(descriptor, 16)
    os.close(descriptor)


def through_a_link(target: str) -> None:
    os.symlink(target, "/grants/0/link")
    read("/grants/0/link")


def connect(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)


def listen(path: str) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen(1)


def thread() -> None:
    done = threading.Event()
    worker = threading.Thread(target=done.set)
    worker.start()
    worker.join(10)
    assert done.is_set()


def rename_within_a_grant() -> None:
    os.mkdir("/grants/0/one")
    write("/grants/0/one/file")
    os.rename("/grants/0/one/file", "/grants/0/two")


def mprotect() -> None:
    memory = mmap.mmap(-1, 4096)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    call(libc.mprotect, ctypes.c_void_p(address), ctypes.c_size_t(4096), 7)


def change_project() -> None:
    """struct fsxattr with another project; the file is its owner's to change, as far as the file system goes."""
    write("/grants/0/mine")
    descriptor = os.open("/grants/0/mine", os.O_RDONLY)
    call(libc.ioctl, descriptor, ctypes.c_ulong(quota.FS_IOC_FSSETXATTR), bytes(quota.XATTR.size))


def core_dump() -> None:
    system_call(302, 0, resource.RLIMIT_CORE, struct.pack("=QQ", 0, 0), None)


def abstract() -> None:
    connect("\0" + os.environ["ABSTRACT"])


ATTEMPTS: dict[str, Callable[[], object]] = {
    # programs and processes
    "execve": lambda: os.execv("/guest/program", ["program"]),
    "execveat": lambda: system_call(322, -100, b"/guest/program", None, None, 0),
    "fork": os.fork,
    "vfork": lambda: system_call(58),
    "ptrace": lambda: system_call(101, PTRACE_ATTACH, PARENT, 0, 0),
    "process_vm_writev": lambda: system_call(311, PARENT, None, 0, None, 0, 0),
    "kill": lambda: os.kill(PARENT, 0),
    "tgkill": lambda: system_call(234, PARENT, PARENT, 0),
    "read the parent's environment": lambda: read(f"/proc/{PARENT}/environ"),
    "x32": lambda: system_call(X32_GETPID),
    "code in new memory": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC),
    "code in old memory": mprotect,
    # sockets
    "inet socket": lambda: socket.socket(socket.AF_INET),
    "inet6 socket": lambda: socket.socket(socket.AF_INET6),
    "packet socket": lambda: system_call(41, 17, 3, 0),
    "netlink socket": lambda: system_call(41, 16, 3, 0),
    "vsock socket": lambda: system_call(41, 40, 1, 0),
    "abstract socket": abstract,
    "another agent's socket": lambda: connect("/ctx/../ctx-other/sock"),
    "inherited descriptor": lambda: os.read(SECRET, 1),
    # files
    "open /etc/passwd": lambda: read("/etc/passwd"),
    "climb out": lambda: read("/grants/0/../../../../../../etc/passwd"),
    "climb out through /proc": lambda: read("/proc/self/root/etc/passwd"),
    "open a host's file through a link": lambda: through_a_link("/etc/passwd"),
    "open /proc/1": lambda: os.listdir("/proc/1"),
    "open /proc/sys": lambda: os.listdir("/proc/sys"),
    "write to the root": lambda: write("/file"),
    "write to the guest's root": lambda: write("/guest/file"),
    "write to the agent's folder": lambda: write("/agent/file"),
    "write to a read-only grant": lambda: write("/grants/1/new"),
    "change the mode in a read-only grant": lambda: os.chmod("/grants/1", 0o777),
    "link into a grant": lambda: os.link("/agent/AGENT.toml", "/grants/0/hard"),
    "rename into the room": lambda: (write("/grants/0/x"), os.rename("/grants/0/x", "/room/x")),
    "make a device": lambda: os.mknod("/grants/0/device", 0o020666, os.makedev(1, 1)),
    "make a device without a driver": lambda: os.mknod("/grants/0/device", 0o020666, 0),
    "open a file of root in a grant": lambda: read("/grants/0/private"),
    "file in the room": lambda: write("/room/file"),
    "link in the room": lambda: os.symlink("/", "/room/link"),
    "folder in the room": lambda: os.mkdir("/room/folder"),
    "file beside the socket": lambda: write("/ctx/file"),
    "remove the socket": lambda: os.unlink("/ctx/sock"),
    "change a file's project": change_project,
    "file handle": lambda: system_call(303, -100, b"/grants/0", None, None, 0),
    # the kernel's doors
    "mount": lambda: system_call(165, b"none", b"/grants/0", b"tmpfs", 0, None),
    "unmount": lambda: system_call(166, b"/proc", 0),
    "pivot_root": lambda: system_call(155, b".", b"."),
    "chroot": lambda: system_call(161, b"/grants/0"),
    "user namespace": lambda: system_call(272, CLONE_NEWUSER),
    "network namespace": lambda: system_call(272, CLONE_NEWNET),
    "setns": lambda: system_call(308, 0, 0),
    "become root": lambda: system_call(117, 0, 0, 0),
    "bpf": lambda: system_call(321, 0, None, 0),
    "io_uring": lambda: system_call(425, 1, None),
    "keyctl": lambda: system_call(250, 0, 0),
    "load a module": lambda: system_call(175, None, 0, b""),
    "reboot": lambda: system_call(169, 0, 0, 0, None),
    "userfaultfd": lambda: system_call(323, 0),
    "take a limit back": core_dump,
    "memfd": lambda: os.memfd_create("x"),
    # what a VMM does
    "make a thread": thread,
    "read the guest's root": lambda: read("/guest/program"),
    "read the agent's folder": lambda: read("/agent/AGENT.toml"),
    "read a read-only grant": lambda: read("/grants/1/file"),
    "write to a write grant": lambda: write("/grants/0/file"),
    "rename in a write grant": rename_within_a_grant,
    "link in a write grant": lambda: os.symlink("file", "/grants/0/link"),
    "fifo in a write grant": lambda: os.mkfifo("/grants/0/fifo"),
    "connect to its own socket": lambda: connect("/ctx/sock"),
    "listen in the room": lambda: listen("/room/control.sock"),
    "open through its own descriptors": lambda: read("/proc/self/fd/" + str(os.open("/agent/AGENT.toml", os.O_PATH))),
}


def main(spec_file: str, name: str) -> None:
    spec = jail_from_plain(json.loads(Path(spec_file).read_text()))
    jail.apply(spec)
    print("ready", flush=True)
    try:
        ATTEMPTS[name]()
    except OSError as error:
        print(errno.errorcode.get(error.errno or 0, str(error)), flush=True)
    else:
        print("done", flush=True)
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])

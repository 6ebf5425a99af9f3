"""Effects: every system call of PID 1, behind one small interface.

The tests' twin records the calls instead, so that a test can compare the whole ordered trace of a boot.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from nullbox.bootstrap import disk, files, forked
from nullbox.bootstrap.mounts import EBUSY_IS_FINE, Mount

# reboot(2)
RB_AUTOBOOT: Final = 0x01234567
RB_POWER_OFF: Final = 0x4321FEDC
RB_DISABLE_CAD: Final = 0

SIOCGIFFLAGS: Final = 0x8913
SIOCSIFFLAGS: Final = 0x8914
IFF_UP: Final = 1
ARPHRD_ETHER: Final = "1"


OWN_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, signal.SIGPIPE)
"""Signals that PID 1 and Python itself handle; a child begins with the kernel's own handling."""


class Host(Protocol):
    """What PID 1 asks of the kernel. Every method raises OSError when the kernel refuses."""

    def mount(self, mount: Mount) -> None: ...
    def unmount(self, target: str) -> None: ...
    def block_devices(self) -> dict[str, str]: ...
    def device_size(self, device: str) -> int: ...
    def read_device(self, device: str, length: int) -> bytes: ...
    def wipe_device(self, device: str) -> None: ...
    def run(self, argv: Sequence[str], seconds: float) -> tuple[int, str]: ...
    def open_console(self) -> None: ...
    def set_hostname(self, name: str) -> None: ...
    def write(self, path: str, text: str) -> None: ...
    def read(self, path: str) -> str: ...
    def read_file(self, path: str, most: int) -> bytes: ...
    def replace_file(self, path: str, content: bytes, mode: int) -> None: ...
    def remove(self, path: str) -> None: ...
    def entries(self, path: str) -> list[str]: ...
    def random(self, count: int) -> bytes: ...
    def add_randomness(self, seed: bytes) -> None: ...
    def now(self) -> float: ...
    def set_clock(self, seconds: float) -> None: ...
    def make_directory(self, path: str, mode: int) -> None: ...
    def prove_read_only(self, directory: str) -> None: ...
    def loopback_up(self) -> None: ...
    def network_cards(self) -> list[str]: ...
    def disable_ctrl_alt_del(self) -> None: ...
    def fork(self, main: Callable[[], object], keep: int) -> int: ...
    def start(self, argv: Sequence[str]) -> int: ...
    def kill(self, pid: int, signum: int) -> None: ...
    def sync(self) -> None: ...
    def reboot(self, how: int) -> None: ...


class LinuxHost:
    """The real thing."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)

    def mount(self, mount: Mount) -> None:
        """mount(2), the mount point made first where the table says so."""
        if mount.create:
            Path(mount.target).mkdir(parents=True, exist_ok=True)
        result = self._libc.mount(
            (mount.source or mount.fstype).encode(),
            mount.target.encode(),
            mount.fstype.encode(),
            ctypes.c_ulong(mount.flags),
            mount.data.encode() or None,
        )
        if result != 0:
            error = ctypes.get_errno()
            if error == errno.EBUSY and mount.target in EBUSY_IS_FINE:
                return
            raise OSError(error, os.strerror(error), mount.target)

    def unmount(self, target: str) -> None:
        """umount(2)."""
        if self._libc.umount(target.encode()) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), target)

    def block_devices(self) -> dict[str, str]:
        return disk.uevents()

    def device_size(self, device: str) -> int:
        return disk.size(device)

    def read_device(self, device: str, length: int) -> bytes:
        return disk.read(f"/dev/{device}", length)

    def wipe_device(self, device: str) -> None:
        disk.wipe(f"/dev/{device}")

    def run(self, argv: Sequence[str], seconds: float) -> tuple[int, str]:
        return disk.run(argv, seconds)

    def open_console(self) -> None:
        """Give descriptors 0, 1 and 2 to the console, and input to nobody: there is no shell to type at."""
        null = os.open("/dev/null", os.O_RDONLY)
        console = os.open("/dev/console", os.O_WRONLY | os.O_NOCTTY)
        os.dup2(null, 0)
        os.dup2(console, 1)
        os.dup2(console, 2)
        for fd in (null, console):
            if fd > 2:
                os.close(fd)

    def set_hostname(self, name: str) -> None:
        socket.sethostname(name)

    def write(self, path: str, text: str) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, text.encode() or b"\n")
        finally:
            os.close(fd)

    def read(self, path: str) -> str:
        return Path(path).read_text()

    def read_file(self, path: str, most: int) -> bytes:
        """At most that many bytes; empty when it cannot be read."""
        return files.read(Path(path), most)

    def replace_file(self, path: str, content: bytes, mode: int) -> None:
        """Whole or not at all, and lasting (see `files.replace`)."""
        files.replace(Path(path), content, mode)

    def remove(self, path: str) -> None:
        Path(path).unlink()

    def entries(self, path: str) -> list[str]:
        return sorted(entry.name for entry in Path(path).iterdir())

    def random(self, count: int) -> bytes:
        """From the kernel. It waits until the kernel has collected enough for its generator: about a second on a
        machine without any source, since the kernel then makes do with the jitter of its own clock (getrandom(2))."""
        return os.urandom(count)

    def add_randomness(self, seed: bytes) -> None:
        """Stir it into the kernel's pool, without credit (random(4))."""
        fd = os.open("/dev/urandom", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, seed)
        finally:
            os.close(fd)

    def now(self) -> float:
        return time.time()

    def set_clock(self, seconds: float) -> None:
        time.clock_settime(time.CLOCK_REALTIME, seconds)

    def make_directory(self, path: str, mode: int) -> None:
        Path(path).mkdir(parents=True, exist_ok=True)
        Path(path).chmod(mode)

    def prove_read_only(self, directory: str) -> None:
        """Try to make a file there. Only EROFS, the refusal of the file system itself, is a proof: everything else
        (root could remove a permission) raises."""
        probe = f"{directory.rstrip('/')}/.write-probe"
        try:
            os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if error.errno == errno.EROFS:
                return
            raise
        Path(probe).unlink()
        raise OSError(errno.EPERM, "the file system can be written", directory)

    def loopback_up(self) -> None:
        """netdevice(7): read the flags of `lo`, set IFF_UP."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
            request = struct.pack("16sH14x", b"lo", 0)
            flags = struct.unpack("16sH14x", fcntl.ioctl(query, SIOCGIFFLAGS, request))[1]
            fcntl.ioctl(query, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))

    def network_cards(self) -> list[str]:
        """Ethernet devices with hardware behind them, real or emulated, in the kernel's order (sysfs: class/net)."""
        found = []
        for entry in Path("/sys/class/net").iterdir():
            with contextlib.suppress(OSError, ValueError):
                if (entry / "device").exists() and (entry / "type").read_text().strip() == ARPHRD_ETHER:
                    found.append((int((entry / "ifindex").read_text()), entry.name))
        return [name for _, name in sorted(found)]

    def disable_ctrl_alt_del(self) -> None:
        """Ctrl-Alt-Del sends SIGINT to PID 1 (an orderly stop) instead of resetting the machine."""
        self.reboot(RB_DISABLE_CAD)

    def start(self, argv: Sequence[str]) -> int:
        """Start a process in a session of its own that keeps descriptors 0 to 2 alone. Returns its pid."""
        return os.posix_spawn(argv[0], list(argv), {}, setsid=True, setsigmask=[], setsigdef=OWN_SIGNALS)

    def fork(self, main: Callable[[], object], keep: int) -> int:
        """Run `main` in a process of its own (see `forked.fork`)."""
        return forked.fork(main, keep)

    def spawn(self, argv: Sequence[str], env: dict[str, str], heartbeat_fd: int) -> int:
        """Start a process in a session of its own; it keeps `heartbeat_fd` and descriptors 0 to 2. Returns its pid.

        posix_spawn(3) rather than fork: nothing of PID 1's memory is copied, and no Python runs between the two.
        """
        os.set_inheritable(heartbeat_fd, True)
        try:
            return os.posix_spawn(
                argv[0],
                list(argv),
                env,
                setsid=True,
                setsigmask=[],
                setsigdef=OWN_SIGNALS,
            )
        finally:
            os.set_inheritable(heartbeat_fd, False)

    def kill(self, pid: int, signum: int) -> None:
        """kill(2); that the process is gone already is what was wanted."""
        try:
            os.kill(pid, signum)
        except ProcessLookupError:
            return

    def sync(self) -> None:
        os.sync()

    def reboot(self, how: int) -> None:
        if self._libc.reboot(ctypes.c_int(how)) != 0:
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), f"reboot({how:#x})")

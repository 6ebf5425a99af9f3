"""One cgroup per VM: limits, freezing, killing, statistics (edge module: /sys/fs/cgroup).

`CgroupTree` is the folder that holds the VMs' cgroups (`/sys/fs/cgroup/nullbox`); `Cgroup` one VM's. Only cgroup v2.
All waiting is for the kernel's own notification: `cgroup.events` reports POLLPRI whenever it changes.

Source: Linux, Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import errno
import os
import select
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from nullbox.protocols.errors import ErrorCode, NullBoxError

ROOT = Path("/sys/fs/cgroup")
BRANCH = "nullbox"
CONTROLLERS = ("cpu", "memory", "pids")
OPTIONAL_FILES = frozenset({"memory.swap.max"})
"""Limits whose file is missing on kernels built without the feature, and then there is nothing to limit."""


class CgroupTree:
    """The branch of the hierarchy that belongs to NullBox.

    partial: do with the controllers that there are. Limits of the others are not set then, and nobody is told but
    through `nullctl doctor`: for the development driver only.
    """

    def __init__(self, root: Path = ROOT, branch: str = BRANCH, *, partial: bool = False) -> None:
        self.root = root
        self.path = root / branch
        self.partial = partial

    def prepare(self) -> None:
        """Make the branch and hand the controllers down to it. Safe to repeat.

        Raises:
            NullBoxError: `unavailable`, there is no cgroup v2 with the controllers that limits need.
        """
        try:
            self.path.mkdir(exist_ok=True)
            for folder in (self.root, self.path):
                self._delegate(folder)
        except OSError as error:
            raise NullBoxError(
                ErrorCode.UNAVAILABLE, f"cannot prepare the cgroup {self.path}: {error.strerror}; cgroup v2 is needed"
            ) from error

    def _delegate(self, folder: Path) -> None:
        offered = set((folder / "cgroup.controllers").read_text().split())
        missing = [controller for controller in CONTROLLERS if controller not in offered]
        if missing and not self.partial:
            raise NullBoxError(
                ErrorCode.UNAVAILABLE,
                f"{folder} offers no cgroup controller {', '.join(missing)} (it has: "
                f"{' '.join(sorted(offered)) or 'none'}); limits cannot be enforced without",
            )
        enabled = set((folder / "cgroup.subtree_control").read_text().split())
        wanted = [f"+{controller}" for controller in CONTROLLERS if controller in offered - enabled]
        if wanted:
            (folder / "cgroup.subtree_control").write_text(" ".join(wanted))

    def cgroup(self, agent: str) -> Cgroup:
        """The cgroup of an agent's VM; it need not exist."""
        return Cgroup(self.path / agent, partial=self.partial)

    def agents(self) -> list[str]:
        """Agents that have a cgroup, sorted: what a restarted control plane finds."""
        try:
            return sorted(entry.name for entry in self.path.iterdir() if entry.is_dir())
        except FileNotFoundError:
            return []


class Cgroup:
    """One VM's cgroup."""

    def __init__(self, path: Path, *, partial: bool = False) -> None:
        self.path = path
        self._optional = (lambda name: True) if partial else OPTIONAL_FILES.__contains__

    def create(self, limits: Mapping[str, str]) -> None:
        """Make it with these limits (file → content), or set them anew.

        Raises:
            NullBoxError: `unavailable`, a limit cannot be set: a VM without its limits must not start.
        """
        self.path.mkdir(exist_ok=True)
        for name, value in limits.items():
            if self._optional(name) and not (self.path / name).exists():
                continue
            try:
                self._write(name, value)
            except OSError as error:
                raise NullBoxError(
                    ErrorCode.UNAVAILABLE, f"cannot set {name} to {value} in {self.path}: {error.strerror}"
                ) from error

    def remove(self) -> bool:
        """Remove it; True when it is gone. False while it still holds a process: kill and wait first."""
        try:
            self.path.rmdir()
        except FileNotFoundError:
            return True
        except OSError as error:
            if error.errno in (errno.EBUSY, errno.ENOTEMPTY):
                return False
            raise
        return True

    @property
    def exists(self) -> bool:
        return self.path.is_dir()

    def processes(self) -> list[int]:
        """Pids in it; empty when it does not exist."""
        try:
            return [int(line) for line in self._read("cgroup.procs").split()]
        except OSError:
            return []

    def add(self, pid: int) -> None:
        """Move a process into it. Raises OSError (ESRCH: no such process)."""
        self._write("cgroup.procs", str(pid))

    def kill(self) -> None:
        """SIGKILL everything in it, frozen or not, forks included. Nothing happens if it does not exist."""
        try:
            self._write("cgroup.kill", "1")
        except FileNotFoundError:
            if not self.exists:
                return
            raise

    # --- freezing ------------------------------------------------------------------------------------------

    def set_frozen(self, frozen: bool) -> None:
        """Ask for it; `wait_frozen` confirms. Raises OSError."""
        self._write("cgroup.freeze", "1" if frozen else "0")

    @property
    def frozen(self) -> bool:
        """Whether every process in it has really stopped."""
        return self.events().get("frozen") == 1

    def events(self) -> dict[str, int]:
        """`populated` and `frozen`, each 0 or 1."""
        return _flat(self._read("cgroup.events"))

    def wait_frozen(self, frozen: bool, timeout: float) -> bool:
        """Wait until the kernel says so. timeout: seconds. False: it did not within that time."""
        return self._wait(lambda events: events.get("frozen") == int(frozen), timeout)

    def wait_empty(self, timeout: float) -> bool:
        """Wait until no process is left in it. timeout: seconds."""
        return self._wait(lambda events: events.get("populated") == 0, timeout)

    def open_events(self) -> int:
        """A descriptor of `cgroup.events`, for an event loop: it reports POLLPRI at a change. The caller closes it."""
        return os.open(self.path / "cgroup.events", os.O_RDONLY | os.O_CLOEXEC)

    def _wait(self, reached: Callable[[dict[str, int]], bool], timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        descriptor = self.open_events()
        try:
            poller = select.poll()
            poller.register(descriptor, select.POLLPRI)
            while True:
                # Reading arms the notification, so the state is read before every wait: no change can be missed.
                if reached(_flat(os.pread(descriptor, 4096, 0).decode())):
                    return True
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                poller.poll(left * 1000)
        finally:
            os.close(descriptor)

    # --- statistics ----------------------------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """What it uses now and used so far: `cpu_usec`, `throttled_usec`, `memory_bytes`, `memory_peak_bytes`, `tasks`,
        `oom_kills`. A number whose controller is missing is left out."""
        cpu = self._table("cpu.stat")
        numbers = {
            "cpu_usec": cpu.get("usage_usec"),
            "throttled_usec": cpu.get("throttled_usec"),
            "memory_bytes": self._number("memory.current"),
            "memory_peak_bytes": self._number("memory.peak"),
            "tasks": self._number("pids.current"),
            "oom_kills": self._table("memory.events").get("oom_kill"),
        }
        return {name: number for name, number in numbers.items() if number is not None}

    def _number(self, name: str) -> int | None:
        try:
            return int(self._read(name))
        except (OSError, ValueError):
            return None

    def _table(self, name: str) -> dict[str, int]:
        try:
            return _flat(self._read(name))
        except OSError:
            return {}

    def _read(self, name: str) -> str:
        return (self.path / name).read_text()

    def _write(self, name: str, value: str) -> None:
        # No O_CREAT: on a real cgroup a missing file is an error that has to be seen.
        descriptor = os.open(self.path / name, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, value.encode())
        finally:
            os.close(descriptor)


def _flat(text: str) -> dict[str, int]:
    """The kernel's flat keyed format: `name number` a line. Other lines are left out."""
    table: dict[str, int] = {}
    for line in text.splitlines():
        name, _, number = line.partition(" ")
        if number.lstrip("-").isdigit():
            table[name] = int(number)
    return table

"""Start and end an instance of NullBox on this host (edge: namespaces, cgroups, processes, files).

    STATE/run/     nulld.sock and all that is volatile; gone when the instance is
    STATE/var/     stores and logs; they stay
    STATE/lock     held while an instance runs there

The instance's first process is `bootstrap.hosted`, PID 1 of a PID namespace of its own: nothing of it can outlive that
process. What this module makes outside the namespaces is one cgroup, and it takes that away again.

Sources: pid_namespaces(7), Documentation/admin-guide/cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nullbox.bootstrap.hosted import CONTROL_GROUP
from nullbox.cage.sandbox.syscalls import children_in_new_pid_namespace
from nullbox.host.run import MachineError, describe, starting, tail
from nullbox.protocols.errors import NullBoxError
from nullbox.rpc.client import Client

CONTROLLERS = ("cpu", "memory", "pids")
LONGEST_SOCKET = 107
"""Bytes of a Unix socket's path (unix(7))."""
STOP_SECONDS = 40.0
"""What PID 1 and the tree take at most for an orderly end, and some more."""
POLL_SECONDS = 0.1
KILL_SECONDS = 10.0
GUEST_PARTS = ("guest", "lib")
"""What a microVM needs of the image: its root, and libkrun."""


@dataclass(frozen=True)
class Hosted:
    """What to start. agents: folder of agents' folders. config: a nulld.toml, or None. image: for the driver `krun`."""

    state: Path
    driver: str
    agents: Path
    config: Path | None = None
    image: Path | None = None

    @property
    def run(self) -> Path:
        return self.state / "run"

    @property
    def socket(self) -> Path:
        """Where clients reach the gateway."""
        return self.run / "nulld.sock"

    @property
    def log(self) -> Path:
        """What PID 1 and the actors have to say."""
        return self.state / "var" / "log" / "nullbox" / "nulld.log"

    @property
    def group(self) -> str:
        """The name of its cgroup: as many instances as state folders."""
        return "nullbox-" + hashlib.sha256(str(self.state).encode()).hexdigest()[:12]


def cgroup_mount(mountinfo: str) -> Path | None:
    """Where the cgroup v2 hierarchy is mounted whole, from the text of /proc/self/mountinfo (proc_pid_mountinfo(5))."""
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if after.split()[:1] == ["cgroup2"] and len(fields) > 4 and fields[3] == "/":
            return Path(fields[4])
    return None


@contextmanager
def locked(state: Path) -> Iterator[None]:
    """Only one instance has a state folder.

    Raises:
        MachineError: another one has it, or it cannot be made.
    """
    try:
        state.mkdir(parents=True, exist_ok=True)
        lock = os.open(state / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise MachineError(f"cannot use {state}: {error.strerror}; give another folder with --state") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise MachineError(
            f"an instance runs with {state} already, as process {owner}; give another folder with --state"
        ) from None
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(lock)


class Instance:
    """One instance, from `start` to `remove`."""

    def __init__(self, hosted: Hosted) -> None:
        self.hosted = hosted
        self._root = cgroup_mount(Path("/proc/self/mountinfo").read_text())
        self._lent: list[str] = []
        self._first: subprocess.Popen[bytes] | None = None

    @property
    def cgroup(self) -> Path:
        if self._root is None:
            raise MachineError("this host has no cgroup v2 (mount -t cgroup2), which pausing and ending agents needs")
        return self._root / self.hosted.group

    def start(self) -> None:
        """Make folders and cgroup, free of what a killed instance left, and start PID 1.

        Raises:
            MachineError: it cannot be; says what would help.
        """
        if os.geteuid() != 0:
            raise MachineError("namespaces, cgroups and network devices need root; run it with sudo")
        if len(os.fsencode(self.hosted.socket)) > LONGEST_SOCKET:
            raise MachineError(
                f"{self.hosted.socket} is too long for a socket ({LONGEST_SOCKET} bytes); "
                "give a shorter folder with --state"
            )
        try:
            self.remove()
            self._make_folders()
            self._make_cgroup()
            self._start_first()
        except OSError as error:
            self.remove()
            raise MachineError(f"the instance cannot be made: {error}") from error

    def wait_ready(self, seconds: float) -> dict[str, Any]:
        """Wait until it is healthy and no agent is starting any more; its `status`.

        Raises:
            MachineError: it ended, or took longer.
        """
        deadline = time.monotonic() + seconds
        last = "the gateway has not answered"
        while time.monotonic() < deadline:
            if self.ended() is not None:
                raise MachineError(f"the instance has ended; its log's last lines:\n{tail(self.hosted.log)}")
            try:
                with Client(self.hosted.socket, timeout=10.0) as client:
                    status: dict[str, Any] = client.call("status")
                if status.get("healthy") and not starting(status):
                    return status
                last = describe(status)
            except NullBoxError as error:
                last = error.message
            time.sleep(POLL_SECONDS)
        raise MachineError(f"not ready after {seconds:.0f} s ({last}); log: {self.hosted.log}")

    def ended(self) -> int | None:
        """The exit status of PID 1; None while it runs."""
        return None if self._first is None else self._first.poll()

    def wait(self) -> int:
        """Until it ends by itself."""
        assert self._first is not None
        return self._first.wait()

    def stop(self) -> int:
        """End it in order, or by force; the exit status of PID 1, 0 if it never was. Raises MachineError."""
        return self._end((signal.SIGTERM, STOP_SECONDS), (signal.SIGKILL, KILL_SECONDS))

    def close(self) -> None:
        """Leave nothing, however it got here. Raises MachineError."""
        self._end((signal.SIGKILL, KILL_SECONDS))
        self.remove()

    def _end(self, *steps: tuple[signal.Signals, float]) -> int:
        if self._first is None:
            return 0
        for number, seconds in steps:
            if self._first.poll() is None:
                self._first.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._first.wait(seconds)
        code = self._first.poll()
        if code is None:
            raise MachineError(f"process {self._first.pid} does not end")
        return code

    def remove(self) -> None:
        """Take the cgroup and all volatile files away. Nothing happens where there are none."""
        if self._root is not None:
            remove_group(self.cgroup)
            for name in self._lent:
                # Refused while another instance has it from here, which then keeps it.
                with contextlib.suppress(OSError):
                    (self._root / "cgroup.subtree_control").write_text(f"-{name}")
            self._lent = []
        if self.hosted.run.is_dir():
            shutil.rmtree(self.hosted.run)

    def _make_folders(self) -> None:
        system = self.hosted.run / "system"
        (system / "config").mkdir(parents=True)
        self.hosted.log.parent.mkdir(parents=True, exist_ok=True)
        text = self.hosted.config.read_text() if self.hosted.config else default_config(os.environ.get("SUDO_UID"))
        (system / "config" / "nulld.toml").write_text(text)
        (system / "agents").symlink_to(self.hosted.agents.absolute())
        if self.hosted.image is not None:
            for part in GUEST_PARTS:
                (system / part).symlink_to(f"/run/image/system/{part}")

    def _make_cgroup(self) -> None:
        root = self.cgroup.parent
        offered = (root / "cgroup.controllers").read_text().split()
        given = (root / "cgroup.subtree_control").read_text().split()
        for name in CONTROLLERS:
            if name in offered and name not in given:
                (root / "cgroup.subtree_control").write_text(f"+{name}")
                self._lent.append(name)
        (self.cgroup / CONTROL_GROUP).mkdir(parents=True)

    def _start_first(self) -> None:
        hosted = self.hosted
        options = [f"--state={hosted.state}", f"--cgroup={self.cgroup}", f"--driver={hosted.driver}"]
        if hosted.image is not None:
            options.append(f"--image={hosted.image.absolute()}")
        code_root = str(Path(__file__).resolve().parents[2])
        program = f"import sys; sys.path.insert(0, {code_root!r}); from nullbox.bootstrap.hosted import main; main()"
        with hosted.log.open("a") as log, children_in_new_pid_namespace():
            self._first = subprocess.Popen(
                [sys.executable, "-I", "-c", program, *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,  # a Ctrl-C at the terminal is for this process, which then stops it in order
            )


def default_config(sudo_uid: str | None) -> str:
    """A nulld.toml: who called `sudo` operates the instance, too."""
    others = f", {sudo_uid}" if sudo_uid and sudo_uid.isdecimal() and sudo_uid != "0" else ""
    return f"[gateway]\noperators = {{ uids = [0{others}] }}\n"


def remove_group(path: Path) -> None:
    """End everything in a cgroup and below, and remove it all."""
    if not path.is_dir():
        return
    (path / "cgroup.kill").write_text("1")
    deadline = time.monotonic() + KILL_SECONDS
    for folder in (*sorted(path.rglob("*/"), reverse=True), path):
        while folder.is_dir():
            with contextlib.suppress(OSError):  # busy until the last process is reaped
                folder.rmdir()
                break
            if time.monotonic() > deadline:
                raise MachineError(f"the cgroup {folder} is not empty: {(folder / 'cgroup.procs').read_text().split()}")
            time.sleep(0.02)

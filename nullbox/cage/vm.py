"""Effects: all that exists of one agent's VM on the host, held together: files, FIFO, cgroup, process, control channel.

    layout.cage(NAME)/   plan.json  pid.json  console (FIFO)  jail/  room/control.sock  room/failure.json

`jail` is empty: the VMM makes the root of its mount namespace there. `room` is the one folder of the host that the
VMM may make something in, a small file system of its own. The folder exists exactly as long as the VM may: a
restarted control plane reads from it what it has to look after.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from nullbox.cage import mounts, planfile
from nullbox.cage.cgroup import CgroupTree
from nullbox.cage.console import ConsoleLog
from nullbox.cage.control import ControlClient
from nullbox.cage.manifest import Manifest
from nullbox.cage.plan import Site
from nullbox.cage.process import RUNNER, PidRecord, VmProcess, load_record, make_fifo
from nullbox.cage.users import Users
from nullbox.cage.vmplan import VmPlan
from nullbox.cage.volumes import Volumes
from nullbox.protocols.exits import ExitRecord
from nullbox.protocols.layout import Layout

CODE_ROOT = Path(__file__).resolve().parents[2]
"""The folder that holds our packages, for the runner's import path."""

SANDBOX = "nullbox.cage.sandbox"
"""The runner of the development driver."""

ROOM_OPTIONS = "mode=700,size=64k,nr_inodes=8"
"""The file system of `room`: a socket, and the reason of a failed start."""

MAX_FAILURE = 4096
"""Bytes read of what a runner left; whoever has taken over a VMM may write there, too."""

READ_AT_ONCE = 64 * 1024
"""Bytes of console output taken in one go: a guest that floods its console waits, and nobody else does."""

DRAIN = 16
"""Reads at most when the VM has ended: one full pipe (64 KiB) and some more."""


class Vm:
    """One agent's VM. Nothing is made before `prepare`; `remove` leaves nothing but the log."""

    def __init__(self, agent: str, layout: Layout, cgroups: CgroupTree) -> None:
        self.agent = agent
        self.layout = layout
        self.folder = layout.cage(agent)
        self.cgroup = cgroups.cgroup(agent)
        self.control = ControlClient(self._room / "control.sock")
        self.process: VmProcess | None = None
        self.uid = 0
        self._cgroups = cgroups
        self._console = -1
        self._log = ConsoleLog(layout.agent_log(agent))

    @property
    def _room(self) -> Path:
        return self.folder / "room"

    # --- making and finding ------------------------------------------------------------------------------

    def site(self, agent_folder: Path) -> Site:
        """The paths that go into the plan."""
        return Site(
            uid=self.uid,
            guest_root=str(self.layout.guest_root),
            agent_folder=str(agent_folder),
            data=str(self.layout.data),
            ctx_socket=str(self.layout.ctx_socket(self.agent)),
            control=str(self._room / "control.sock"),
            console=str(self.folder / "console"),
            failure=str(self._room / "failure.json"),
            jail=str(self.folder / "jail"),
            cgroup=str(self.cgroup.path),
        )

    def prepare(self, manifest: Manifest) -> None:
        """Make what the VM needs on the host, free of what an earlier VM left. Raises OSError, NullBoxError."""
        self._cgroups.prepare()
        self.uid = Users(self.layout.agent_users).uid(self.agent)
        Volumes(self.layout.data).prepare(manifest.read, manifest.write)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "pid.json").unlink(missing_ok=True)
        self._clear_room()
        for path in (self._room, self.folder / "jail"):
            path.mkdir(exist_ok=True)
        mounts.mount(
            "nullbox", str(self._room), "tmpfs", mounts.HARDENED, f"{ROOM_OPTIONS},uid={self.uid},gid={self.uid}"
        )
        make_fifo(self.folder / "console")

    def _clear_room(self) -> None:
        while mounts.is_mount_point(str(self._room)):
            mounts.unmount(str(self._room))

    def spawn(self, plan: VmPlan) -> None:
        """Start the VMM. Raises OSError, or NullBoxError where a limit cannot be set."""
        self.cgroup.create(plan.limits.cgroup_files())
        plan_file = self.folder / "plan.json"
        plan_file.write_text(planfile.dumps(plan))
        self.process = VmProcess.spawn(
            plan_file,
            self.folder / "console",
            # Isolated from the environment, but for the path to our own code: -S because nothing is installed.
            python=[sys.executable, "-s", "-S", "-P"],
            environ={
                "PYTHONPATH": str(CODE_ROOT),
                "PYTHONDONTWRITEBYTECODE": "1",
                "LD_LIBRARY_PATH": str(self.layout.library_dir),
            },
            record=self.folder / "pid.json",
            runner=RUNNER if plan.process is None else SANDBOX,
        )
        self.control.owner = owner_of_control(plan)
        self._open_console()

    def adopt(self) -> VmPlan | None:
        """Take over the VM that an earlier actor left running. None when there is none.

        Raises:
            OSError: there may be one, and it cannot be found out or taken over now. It runs on.
        """
        record = load_record(self.folder / "pid.json")
        process = VmProcess.adopt(record) if record is not None else None
        if process is None:
            return None
        try:
            plan = planfile.loads((self.folder / "plan.json").read_text())
        except BaseException as error:
            process.close()
            if isinstance(error, ValueError):
                return None
            raise
        self.process = process
        self.uid = plan.jail.uid
        self.control.owner = owner_of_control(plan)
        self._open_console()
        return plan

    @property
    def record(self) -> PidRecord:
        assert self.process is not None
        return self.process.record

    # --- while it runs -----------------------------------------------------------------------------------

    @property
    def console(self) -> int:
        """The descriptor to watch for output."""
        return self._console

    def read_console(self) -> int:
        """Move what the guest wrote into the log, at most `READ_AT_ONCE` bytes. Returns how many."""
        try:
            data = os.read(self._console, READ_AT_ONCE)
        except BlockingIOError:
            return 0
        if data:
            with contextlib.suppress(OSError):  # a full disk costs log lines, not the agent
                self._log.write(data, time.time())
        return len(data)

    def note(self, text: str) -> None:
        """A line of our own in the agent's log."""
        with contextlib.suppress(OSError):
            self._log.note(text, time.time())

    def kill(self) -> None:
        """SIGKILL everything in the cgroup, and the process itself in case it has not joined it yet."""
        with contextlib.suppress(OSError):
            self.cgroup.kill()
        if self.process is not None and not self.process.ended:
            with contextlib.suppress(OSError):
                signal.pidfd_send_signal(self.process.fileno(), signal.SIGKILL)

    # --- the end -----------------------------------------------------------------------------------------

    def exit_record(self) -> ExitRecord | None:
        """How it ended; None while it runs or while PID 1 has not yet left the record of an adopted one."""
        assert self.process is not None
        return self.process.poll(self.layout.exits)

    def failure(self) -> str | None:
        """Why the runner could not start a VM at all; None when it could."""
        try:
            descriptor = os.open(
                self._room / "failure.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            )
            with open(descriptor, "rb") as file:
                return str(json.loads(file.read(MAX_FAILURE))["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def release(self) -> None:
        """Let go of every descriptor. The VM, if it runs, goes on."""
        self.control.close()
        if self.process is not None:
            self.process.close()
        if self._console >= 0:
            os.close(self._console)
            self._console = -1
        with contextlib.suppress(OSError):
            self._log.close()

    def remove(self, report: Callable[[str], object]) -> None:
        """Take down what is left of a VM that has ended. What cannot be removed is reported, and left."""
        for _ in range(DRAIN):
            if self._console < 0 or self.read_console() == 0:
                break
        self.release()
        if self.cgroup.exists:
            self.cgroup.kill()
            self.cgroup.wait_empty(1.0)
            if not self.cgroup.remove():
                report(f"the cgroup {self.cgroup.path} could not be removed: {self.cgroup.processes()} are in it")
        with contextlib.suppress(OSError):
            self._clear_room()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _open_console(self) -> None:
        self._console = os.open(self.folder / "console", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)


def owner_of_control(plan: VmPlan) -> int:
    """Who listens on the control socket: the VMM in its jail, or the development driver's runner, in none."""
    return plan.jail.uid if plan.process is None else os.geteuid()

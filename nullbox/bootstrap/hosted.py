"""PID 1 of an instance on somebody else's machine: `python -m nullbox.bootstrap.hosted OPTIONS` (edge module).

`nullbox up` starts it in a new PID namespace. It takes mount, network, IPC and cgroup namespaces of its own, prepares
them as a boot prepares the machine, from a table, and is then the same loop as in the image: it reaps, keeps the actor
system up, and ends all when it is asked to. Nothing outside its namespaces is changed but its state folder and
its cgroup, which `nullbox up` made for it.

Exit status: 0 ended in order, `REBOOT` when somebody asked for a reboot, `GAVE_UP` when the actor system could not be
kept up, 71 when the namespaces could not be made.

Sources: unshare(2), namespaces(7), pid_namespaces(7), cgroup_namespaces(7), prctl(2).
"""

from __future__ import annotations

import argparse
import ctypes
import errno
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn

from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.ending import end_processes
from nullbox.bootstrap.host import LinuxHost
from nullbox.bootstrap.log import Level
from nullbox.bootstrap.mounts import HARDENED, Mount
from nullbox.bootstrap.phases import (
    RUN_DIRECTORIES,
    STATE_DIRECTORIES,
    BootError,
    Phase,
    Task,
    directory_task,
    mount_task,
    run_phases,
    sysctl_task,
)
from nullbox.bootstrap.pid1 import HEARTBEAT_ENV, Pid1
from nullbox.bootstrap.sysctls import SYSCTLS
from nullbox.bootstrap.watchdog import Watchdog
from nullbox.protocols.layout import Layout

REBOOT: Final = 64
GAVE_UP: Final = 70
NO_NAMESPACES: Final = 71

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWCGROUP: Final = 0x02000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWNET: Final = 0x40000000
NAMESPACES: Final = CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWIPC | CLONE_NEWNET

MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
PR_SET_PDEATHSIG: Final = 1

CONTROL_GROUP: Final = "control"
"""Where the control plane's processes are: a cgroup with limits for its children holds no process itself."""


@dataclass(frozen=True, slots=True)
class Options:
    """What `nullbox up` says. cgroup: the instance's folder below the host's cgroup v2 mount. image: the SquashFS that
    microVMs take their root from; None for processes."""

    state: Path
    cgroup: Path
    driver: str
    image: Path | None = None


class HostedHost(LinuxHost):
    """The kernel, as far as namespaces of our own go."""

    def __init__(self, options: Options) -> None:
        super().__init__()
        self.options = options

    def separate(self) -> None:
        """Join the cgroup, and leave the host's namespaces. Mounts from here on stay here."""
        (self.options.cgroup / "cgroup.procs").write_text("0")
        self._call(self._libc.unshare(ctypes.c_int(NAMESPACES)), "unshare")
        (self.options.cgroup / CONTROL_GROUP / "cgroup.procs").write_text("0")
        self._mount_call("none", "/", MS_REC | MS_PRIVATE)

    def bind(self, source: Path, target: str) -> None:
        """Show one folder at another's place."""
        self._mount_call(str(source), target, MS_BIND | MS_REC)

    def show_image(self) -> None:
        """Mount the image read-only in this namespace: the loop device goes when the namespace does (mount(8))."""
        folder = Path("/run/image")
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "squashfs", "-o", "loop,ro,nosuid,nodev", str(self.options.image), str(folder)],
            capture_output=True,
            text=True,
        )
        if done.returncode != 0:
            raise OSError(errno.EIO, done.stderr.strip() or "mount failed", str(self.options.image))

    def _mount_call(self, source: str, target: str, flags: int) -> None:
        result = self._libc.mount(source.encode(), target.encode(), None, ctypes.c_ulong(flags), None)
        self._call(result, f"mount {source} on {target}")

    def _call(self, result: int, what: str) -> None:
        if result != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"{what}: {os.strerror(number)}")


class HostedPid1(Pid1):
    """The loop of the image's PID 1, without what only a machine has: partitions, a clock, an uplink, a console."""

    def hold(self, reason: str) -> None:
        """Nobody looks at an instance that holds, so it ends."""
        self._log(f"giving up: {reason}", Level.ERROR)
        self._leave(GAVE_UP)

    def end(self, how: str) -> None:
        """There is no state partition to reset: anything but `off` begins anew."""
        self._log(f"power {how}: ending all processes", Level.INFO)
        self._leave(0 if how == "off" else REBOOT)

    def save(self) -> None:
        """Clock and random pool are the host's."""

    def _leave(self, code: int) -> NoReturn:
        end_processes(self._host)
        os._exit(code)


class NoWatchdog(Watchdog):
    """The host's watchdog is the host's."""

    def pet(self, *, healthy: bool) -> None:
        """Nothing."""


MOUNTS: Final = (
    Mount("/proc", "proc", HARDENED, "", "processes of this PID namespace"),
    Mount("/sys", "sysfs", HARDENED, "", "devices of this network namespace"),
    Mount("/sys/fs/cgroup", "cgroup2", HARDENED, "", "this instance's cgroups"),
)


def phases(host: HostedHost) -> tuple[Phase, ...]:
    """What the image does at boot, as far as it concerns an instance's own namespaces."""
    options = host.options
    layout = hosted_layout(options)
    own = [sysctl for sysctl in SYSCTLS if sysctl.name.startswith("net.")]  # the others are the whole host's
    folders = [(place(path, layout), mode) for path, mode in (*RUN_DIRECTORIES, *STATE_DIRECTORIES)]
    folders = [each for each in folders if not each[0].startswith("/sys/")]
    image = [Task("show the image", lambda h, c: host.show_image())] if options.image else []
    return (
        Phase("namespaces", (Task("leave the host's namespaces", lambda h, c: host.separate()),)),
        Phase("mounts", tuple(mount_task(mount) for mount in MOUNTS)),
        Phase("run", (Task("show run/ as /run", lambda h, c: host.bind(options.state / "run", "/run")), *image)),
        Phase("sysctls", tuple(sysctl_task(sysctl) for sysctl in own)),
        Phase("directories", tuple(directory_task(path, mode) for path, mode in folders)),
        Phase("loopback", (Task("bring up lo", lambda h, c: h.loopback_up()),)),
    )


def place(path: str, layout: Layout) -> str:
    """Where a directory of the image is in an instance."""
    return str(layout.state) + path.removeprefix("/var") if path.startswith("/var") else path


def hosted_layout(options: Options) -> Layout:
    """The instance's paths as it sees them. Sockets are below /run whatever the state folder is called: the path of a
    socket holds 107 bytes (unix(7))."""
    return Layout(Path("/run"), options.state / "var", Path("/run/system"))


def nulld_argv(options: Options) -> list[str]:
    """How to start the actor system, with the packages of this environment."""
    code_root = str(Path(__file__).resolve().parents[2])
    program = f"import sys; sys.path.insert(0, {code_root!r}); from nullbox.supervision.nulld import main; main()"
    layout = hosted_layout(options)
    roots = [f"--run={layout.run}", f"--state={layout.state}", f"--system={layout.system}"]
    return [sys.executable, "-I", "-c", program, *roots, f"--driver={options.driver}"]


def log(text: str, level: Level = Level.INFO) -> None:
    """A line of the instance's log, which is this process's standard error."""
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {level.name.lower()}: {text}\n")
    sys.stderr.flush()


def parse_arguments(argv: Sequence[str]) -> Options:
    """The options; what they mean is in `Options`."""
    parser = argparse.ArgumentParser("nullbox.bootstrap.hosted", description="PID 1 of a hosted instance.")
    for name in ("--state", "--cgroup"):
        parser.add_argument(name, type=Path, required=True)
    parser.add_argument("--driver", required=True)
    parser.add_argument("--image", type=Path)
    found = parser.parse_args(argv)
    return Options(found.state.absolute(), found.cgroup, found.driver, found.image)


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Entry point."""
    if os.getpid() != 1:
        sys.stderr.write("nullbox: this is PID 1 of a hosted instance; `nullbox up` starts it\n")
        raise SystemExit(2)
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    # When `nullbox up` is killed, the instance stops in order all the same.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # until the loop knows what to do with it
    host = HostedHost(options)
    try:
        run_phases(phases(host), host, Cmdline(), log, time.monotonic)
    except BootError as error:
        log(str(error), Level.ERROR)
        os._exit(NO_NAMESPACES)

    def start(heartbeat_fd: int) -> int:
        return host.spawn(nulld_argv(options), {HEARTBEAT_ENV: str(heartbeat_fd)}, heartbeat_fd)

    HostedPid1(host, log, Cmdline(), hosted_layout(options), start=start, watchdog=NoWatchdog()).run()


if __name__ == "__main__":
    main()

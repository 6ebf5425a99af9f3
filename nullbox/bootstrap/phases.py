"""Boot as data: named phases of named tasks, each task with what its failure means.

A `FATAL` task that fails ends the boot in the recovery hold; a `TOLERATED` one is logged and the boot goes on,
because a system that runs with a warning serves its operator better than one that does not run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final

from nullbox.bootstrap import crash, lasting, network
from nullbox.bootstrap.cmdline import Cmdline
from nullbox.bootstrap.host import Host
from nullbox.bootstrap.log import Level
from nullbox.bootstrap.mounts import MOUNTS, Mount
from nullbox.bootstrap.sysctls import LOG, SYSCTLS, Sysctl, reserve

Log = Callable[[str, Level], None]
Clock = Callable[[], float]


class OnFailure(Enum):
    FATAL = "fatal"
    TOLERATED = "tolerated"


@dataclass(frozen=True, slots=True)
class Task:
    """One step: a name for the log, what to do, what its failure means. What `run` returns is said in the log."""

    name: str
    run: Callable[[Host, Cmdline], str | None]
    on_failure: OnFailure = OnFailure.FATAL


@dataclass(frozen=True, slots=True)
class Phase:
    name: str
    tasks: tuple[Task, ...]


class BootError(Exception):
    """A fatal task failed; the message names phase, task and cause."""


CONTROLLERS: Final = ("cpu", "memory", "pids")
"""cgroup controllers the cages need. They are turned on singly, so that one that is missing costs no other."""

RUN_DIRECTORIES: Final = (
    ("/run/nullbox", 0o755),
    ("/run/nullbox/actors", 0o700),
    ("/run/nullbox/exits", 0o700),
    ("/run/nullbox/cages", 0o755),
    ("/run/nullbox/ctx", 0o755),
    ("/sys/fs/cgroup/nullbox", 0o755),
)

STATE_DIRECTORIES: Final = (
    ("/var/lib/nullbox", 0o755),
    ("/var/lib/nullbox/data", 0o755),
    ("/var/log/nullbox", 0o750),
    ("/var/log/nullbox/kernel", 0o700),
)


def mount_task(mount: Mount) -> Task:
    """Mount what a line of the table says."""
    return Task(f"mount {mount.target}", lambda host, _: host.mount(mount))


def sysctl_task(sysctl: Sysctl) -> Task:
    """Set one kernel parameter, and see that it is set."""

    def set_and_check(host: Host, _: Cmdline) -> str | None:
        host.write(sysctl.path, f"{sysctl.value}\n")  # with its end of line, which texts have to have
        shown = host.read(sysctl.path).strip()
        return None if shown == sysctl.value else f"{sysctl.name} is {shown} after it was set to {sysctl.value}"

    return Task(f"set {sysctl.name}", set_and_check, OnFailure.TOLERATED)


def set_reserve(host: Host, cmdline: Cmdline) -> str | None:
    """Set what depends on the machine's memory."""
    wanted = reserve(host.read("/proc/meminfo"))
    return None if wanted is None else sysctl_task(wanted).run(host, cmdline)


def directory_task(path: str, mode: int) -> Task:
    """Make one directory."""
    return Task(f"make {path}", lambda host, _: host.make_directory(path, mode))


def _controller(group: str, name: str) -> Task:
    return Task(
        f"enable {name} below {group}",
        lambda host, _: host.write(f"{group}/cgroup.subtree_control", f"+{name}"),
        OnFailure.TOLERATED,
    )


EARLY: Final = (
    Phase("mounts", tuple(mount_task(m) for m in MOUNTS)),
    Phase("log", (sysctl_task(LOG),)),
)
"""Before anything else: the command line is in /proc, the log in /dev."""

BOOT: Final = (
    Phase(
        "console",
        (
            Task("open the console", lambda host, _: host.open_console(), OnFailure.TOLERATED),
            Task("take Ctrl-Alt-Del", lambda host, _: host.disable_ctrl_alt_del(), OnFailure.TOLERATED),
        ),
    ),
    Phase("proof", (Task("prove that / is read-only", lambda host, _: host.prove_read_only("/")),)),
    Phase("sysctls", (*(sysctl_task(s) for s in SYSCTLS), Task("set the reserve", set_reserve, OnFailure.TOLERATED))),
    Phase("directories", tuple(directory_task(path, mode) for path, mode in RUN_DIRECTORIES)),
    Phase(
        "state",
        (
            Task("mount /var", lasting.mount_state),
            *(directory_task(path, mode) for path, mode in STATE_DIRECTORIES),
        ),
    ),
    Phase(
        "identity",
        (
            Task("set the clock", lasting.set_clock, OnFailure.TOLERATED),
            Task("stir the random pool", lasting.stir, OnFailure.TOLERATED),
            Task("name the machine", lasting.machine_id, OnFailure.TOLERATED),
            Task("set the host name", lasting.set_hostname, OnFailure.TOLERATED),
        ),
    ),
    Phase("crash", (Task("keep what a crash left", crash.collect, OnFailure.TOLERATED),)),
    Phase(
        "cgroups",
        tuple(_controller(g, c) for g in ("/sys/fs/cgroup", "/sys/fs/cgroup/nullbox") for c in CONTROLLERS),
    ),
    Phase(
        "network",
        (
            Task("bring up lo", lambda host, _: host.loopback_up()),
            Task("choose the uplink", network.choose_uplink, OnFailure.TOLERATED),
        ),
    ),
)


def run_phases(phases: tuple[Phase, ...], host: Host, cmdline: Cmdline, log: Log, clock: Clock) -> None:
    """Run every task in order and log the time each phase took.

    Raises:
        BootError: a fatal task failed; nothing after it was tried.
    """
    for phase in phases:
        begun = clock()
        for task in phase.tasks:
            try:
                said = task.run(host, cmdline)
            except OSError as error:
                problem = f"boot phase {phase.name}: cannot {task.name}: {error}"
                if task.on_failure is OnFailure.FATAL:
                    raise BootError(problem) from error
                log(problem, Level.WARNING)
            else:
                if said:
                    log(f"boot phase {phase.name}: {said}", Level.INFO)
        log(f"boot phase {phase.name}: {len(phase.tasks)} tasks in {clock() - begun:.3f} s", Level.INFO)

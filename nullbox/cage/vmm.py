"""The runner: the process that becomes one VM. `python -m nullbox.cage.vmm PLAN.json` (edge module: everything).

In order: read the plan, take the console, join the cgroup, load libkrun, close the jail around this process, make the
calls of the plan, and give the process to libkrun. It then ends with the exit code of the agent.

When there is no VM, the process says why in one line on the console, leaves the same in the plan's `failure` file as
JSON, and ends with a code of `Failure`. An agent may use any code itself, so the file, not the code, is the proof. The
file is opened before the jail is closed, and is all that stays open beside the console.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

    from nullbox.cage.vmplan import VmPlan


class Failure(IntEnum):
    """Why there is no VM: exit codes of the runner. 125 to 127 are libkrun's own, for a guest that could not start."""

    USAGE = 2
    RECORD = 118
    PLAN = 119
    CONSOLE = 120
    CGROUP = 121
    LIBRARY = 122
    JAIL = 123
    MACHINE = 124


class NoVm(Exception):
    """The VM cannot be started: which step failed, and why."""

    def __init__(self, failure: Failure, reason: str) -> None:
        super().__init__(reason)
        self.failure = failure


def enter(module: str, run: Callable[[VmPlan, int], int], arguments: list[str]) -> NoReturn:
    """Be the runner of that name: `run` the plan in the named file, and end with its code, or say why there is no VM.

    run: gets the plan and the descriptor of the file for the reason; returns the exit code. Raises NoVm.
    """
    if len(arguments) != 1:
        print(f"usage: python -m {module} PLAN.json", file=sys.stderr)
        sys.exit(Failure.USAGE)
    failure_file = -1
    try:
        await_record(Path(arguments[0]).parent)
        plan = read_plan(Path(arguments[0]))
        failure_file = open_failure(Path(plan.failure))
        sys.exit(run(plan, failure_file))
    except NoVm as error:
        report(error, failure_file)
        sys.exit(error.failure)


def await_record(folder: Path) -> None:
    """Wait until whoever started this process has noted who it is, so that a VM can always be found again.

    Standard input is a pipe to the starter then (`process.VmProcess.spawn`); its end means that the record is written,
    or that the starter died before. In that case another VM is started soon, so nothing is touched, or said.
    """
    if not stat.S_ISFIFO(os.fstat(0).st_mode):
        return
    while os.read(0, 1):
        pass
    try:
        named = json.loads((folder / "pid.json").read_text())["pid"]
    except (OSError, ValueError, KeyError, TypeError):
        named = None
    if named != os.getpid():
        sys.exit(Failure.RECORD)


def open_failure(path: Path) -> int:
    """The file for the reason why there is no VM. It is there, and empty, while there is none."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NoVm(Failure.PLAN, f"cannot open {path}: {error.strerror}") from error


def read_plan(path: Path) -> VmPlan:
    from nullbox.cage import planfile

    try:
        return planfile.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise NoVm(Failure.PLAN, f"cannot read the plan {path}: {error}") from error


def run(plan: VmPlan, failure_file: int) -> NoReturn:
    """Become the VM. failure_file: descriptor that stays open in the jail. Raises NoVm."""
    take_console(Path(plan.console))
    join_cgroup(Path(plan.cgroup))
    from pykrun import Context, Library

    try:
        library = Library(plan.library) if plan.library is not None else Library.find()
    except OSError as error:
        raise NoVm(Failure.LIBRARY, f"cannot load libkrun: {error}") from error
    from nullbox.cage import jail

    try:
        jail.apply(plan.jail, keep=(failure_file,))
    except OSError as error:
        raise NoVm(Failure.JAIL, f"the jail could not be built: {error.strerror}") from error
    try:
        context = Context(library)
        context.run(plan.calls)
        context.start_enter()
    except (OSError, AttributeError, ValueError, TypeError) as error:
        raise NoVm(Failure.MACHINE, f"libkrun refused the machine: {error}") from error


def take_console(path: Path) -> None:
    """Standard output and error become the console FIFO, standard input nothing.

    The FIFO is opened for reading as well, so that it never loses its last reader: the cage actor may die and come
    back, and the guest's output waits in the pipe meanwhile (64 KiB, then the guest's writes wait).
    """
    try:
        console = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise NoVm(Failure.CONSOLE, f"cannot open the console {path}: {error.strerror}") from error
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(null, 0)
    os.dup2(console, 1)
    os.dup2(console, 2)


def join_cgroup(directory: Path) -> None:
    """Move this process into the VM's cgroup. Everything it allocates from here on counts there."""
    try:
        (directory / "cgroup.procs").write_text("0")
    except OSError as error:
        raise NoVm(Failure.CGROUP, f"cannot join the cgroup {directory}: {error.strerror}") from error


def report(error: NoVm, failure_file: int) -> None:
    """Say why on the console, and leave it for the cage actor. failure_file: a descriptor, -1 for none."""
    print(f"nullbox: no VM: {error}", file=sys.stderr, flush=True)
    if failure_file >= 0:
        text = json.dumps({"failure": error.failure.name.lower(), "code": int(error.failure), "reason": str(error)})
        try:
            os.write(failure_file, text.encode())
        except OSError as problem:
            print(f"nullbox: cannot write the reason: {problem.strerror}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    enter("nullbox.cage.vmm", run, sys.argv[1:])

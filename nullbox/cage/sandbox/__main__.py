"""The runner's three processes (edge module: everything).

    runner     in the agent's cgroup; relays the channel to ctxgraph; ends with the agent's code
    └─ init    PID 1 of the sandbox's namespaces: makes it, gives up all rights, reaps
       └─ launcher    the guest's own: starts the agent, serves the control socket

The agent is a child of the launcher. When the runner dies, by `cgroup.kill` or otherwise, all of it goes.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

from nullbox.cage.sandbox import mounts, network, privileges, shares, syscalls
from nullbox.cage.sandbox.relay import Relay
from nullbox.cage.vmm import Failure, NoVm, enter, join_cgroup, take_console
from nullbox.cage.vmplan import ProcessSpec, VmPlan
from nullbox.guest import launcher

NAMESPACES = syscalls.CLONE_NEWNS | syscalls.CLONE_NEWIPC | syscalls.CLONE_NEWUTS | syscalls.CLONE_NEWCGROUP


def run(plan: VmPlan, _: int) -> int:
    """Be the sandbox until the agent ends; its exit code. Raises NoVm."""
    if plan.process is None:
        raise NoVm(Failure.PLAN, "the plan is of a VM, not of a process")
    take_console(Path(plan.console))
    join_cgroup(Path(plan.cgroup))
    folder = Path(plan.process.control).parent
    try:
        control = listen(Path(plan.process.control))
        relay = Relay(folder / "ctx.sock", Path(plan.process.ctx_socket))
        root = folder / "root"
        root.mkdir(exist_ok=True)
        trouble, trouble_writer = os.pipe2(os.O_CLOEXEC)
        with syscalls.children_in_new_pid_namespace():
            init = os.fork()
            if init == 0:
                be_init(plan, plan.process, root, folder / "ctx.sock", control, trouble_writer)
    except OSError as error:
        raise NoVm(Failure.MACHINE, f"the sandbox cannot be made: {error}") from error
    os.close(trouble_writer)
    control.close()
    with open(trouble, encoding="utf-8", errors="replace") as pipe:
        reason = pipe.read()
    if reason:
        os.waitpid(init, 0)
        raise NoVm(Failure.JAIL, reason)
    relay.start()
    code = os.waitstatus_to_exitcode(os.waitpid(init, 0)[1])
    return code if code >= 0 else 128 - code


def listen(path: Path) -> socket.socket:
    """The control socket, which in a VM libkrun makes."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(1)
    listener.setblocking(False)
    return listener


def be_init(
    plan: VmPlan, spec: ProcessSpec, root: Path, ctx_socket: Path, control: socket.socket, trouble: int
) -> NoReturn:
    """PID 1 of the sandbox: make it, start the launcher, reap until that ends. Says what went wrong into `trouble`."""
    try:
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
        syscalls.unshare(NAMESPACES)
        mounts.leave_the_hosts()
        network.enter(plan.link)
        folders = [shares.opened(share) for share in plan.shares]  # of this namespace, or they could not be mounted
        mounts.build(root, plan, ctx_socket, folders)
        for descriptor in folders:
            os.close(descriptor)
        syscalls.pivot_root(str(root))
        mounts.seal()
        socket.sethostname(plan.agent)
        os.umask(0o022)
        privileges.drop(spec)
        # Changing the user took the wish back.
        syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    except (OSError, launcher.Unready) as error:
        os.write(trouble, f"the sandbox cannot be made: {error}".encode())
        os._exit(Failure.JAIL)
    except BaseException as error:
        os.write(trouble, f"the sandbox cannot be made: {type(error).__name__}: {error}".encode())
        os._exit(Failure.JAIL)
    os.close(trouble)
    child = os.fork()
    if child == 0:
        be_launcher(spec, plan.agent, control)
    control.close()
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def be_launcher(spec: ProcessSpec, name: str, control: socket.socket) -> NoReturn:
    """What the guest's launcher does in a VM, once all is ready."""
    config: dict[str, Any] = {
        "name": name,
        "version": spec.version,
        "argv": list(spec.argv),
        "environment": dict(spec.environment),
    }
    code = launcher.FAILED
    try:
        code = launcher.Supervisor(control, launcher.Agent(config)).run()
    except launcher.Unready as error:
        print(f"nullbox: the agent cannot start: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


if __name__ == "__main__":
    enter("nullbox.cage.sandbox", run, sys.argv[1:])

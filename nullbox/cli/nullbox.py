"""`nullbox`: the host's command: boot NullBox in a virtual machine, see it, stop it (edge: prints, waits)."""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click

from nullbox.cli.nullbox_doctor import doctor_command
from nullbox.cli.nullbox_up import up_command
from nullbox.cli.places import build_option, file_option
from nullbox.host import run, state_disk
from nullbox.host.qemu import Machine
from nullbox.host.record import identity_of
from nullbox.host.run import MachineError, RunFolder
from nullbox.protocols.errors import EXIT_FAILED, EXIT_TIMED_OUT

READY_SECONDS = {True: 60.0, False: 300.0}
"""How long a system may take from power-on to healthy, with KVM and without."""


def say(line: str) -> None:
    """One line for the person at the terminal."""
    click.echo(line)


def checkout() -> Path:
    """The folder that kernel, image and virtual environment are built in."""
    return Path(__file__).resolve().parent.parent.parent / "build"


LAZY = {"chaos": "nullbox.chaos.__main__:chaos"}
"""Commands whose code is loaded when they are used or listed: name → module:attribute."""


class LazyGroup(click.Group):
    """A group that also has the commands of `LAZY`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *LAZY})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in LAZY:
            return super().get_command(ctx, cmd_name)
        module, _, name = LAZY[cmd_name].partition(":")
        command = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nullbox")
def main() -> None:
    """Run NullBox, an operating system for agents, on this host: in a virtual machine, or in namespaces."""


main.add_command(up_command)
main.add_command(doctor_command)


@main.command("run")
@click.option("--detach", is_flag=True, help="Return once the system is ready.")
@click.option("--memory", default=2048, show_default=True, help="Memory of the machine in MiB.")
@click.option("--cpus", type=int, default=None, help="Virtual processors of the machine; default 2, 1 under emulation.")
@file_option(
    "--state", "Disk for what is to last; made (sparse, 1 GiB) if it is not there. Without it the machine forgets."
)
@click.option("--append", multiple=True, metavar="ARGUMENT", help="One more kernel argument; repeatable.")
@build_option
def run_command(
    detach: bool, memory: int, cpus: int | None, state: Path | None, append: tuple[str, ...], build: Path | None
) -> None:
    """Boot the image with its agents, and stay until Ctrl-C."""
    build = build or checkout()
    folder = RunFolder(build / "run")
    if state is not None and state_disk.ensure(state.absolute()):
        say(f"state:    {state}, a new disk of {state_disk.DEFAULT_MIB} MiB")
    disk = state.absolute() if state else None
    try:
        machine, choice = run.describe_machine(folder, build, cpus=cpus, memory_mib=memory, state=disk, append=append)
        say(f"acceleration: {choice}")
        with folder.locked():
            started = boot(folder, machine, str(choice))
        show(folder, started)
        if not detach:
            stay(folder)
    except MachineError as error:
        fail(str(error))


def boot(folder: RunFolder, machine: Machine, choice: str) -> float | None:
    """Have the machine run and be ready; returns the seconds that took, None if it ran already."""
    found = run.running(folder)
    if found and found.identity == identity_of(machine):
        say(f"this kernel and image run already, as process {found.qemu.pid}")
        run.wait_ready(folder, READY_SECONDS[machine.kvm])
        return None
    if found:
        say("another kernel or image runs here; it is stopped first")
        run.stop(folder, say)
    began = time.monotonic()
    say(f"booting; console: {folder.console}")
    run.start(folder, machine, choice)
    try:
        run.wait_ready(folder, READY_SECONDS[machine.kvm])
    except KeyboardInterrupt:
        run.stop(folder, say)
        raise
    return time.monotonic() - began


def show(folder: RunFolder, seconds: float | None) -> None:
    """Say what runs, and how to reach and stop it."""
    status = run.wait_ready(folder, 30.0)
    if seconds is not None:
        say(f"ready after {seconds:.1f} s")
    for kind in ("services", "agents"):
        for item in status.get(kind, []):
            say(f"  {kind[:-1]:<8} {item.get('name'):<12} {item.get('state')}")
    nullctl = Path(sys.executable).parent / "nullctl"
    say(f"socket:   {folder.socket}")
    say(f"console:  {folder.console}")
    say(f"log:      {folder.log}")
    say("try:")
    for words in ("status", "tree", "ctx query pulse.", "agent logs pulse"):
        say(f"  {nullctl} --socket {folder.socket} {words}")
    say("stop:     make stop, or nullbox stop")


def stay(folder: RunFolder) -> None:
    """Wait for Ctrl-C or SIGTERM, then stop the machine; or for its end."""
    say("Ctrl-C stops the machine")

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    with contextlib.suppress(KeyboardInterrupt):
        while run.running(folder):
            time.sleep(0.5)
        say("the machine has ended")
        return
    with folder.locked():
        run.stop(folder, say)


@main.command("stop")
@build_option
def stop_command(build: Path | None) -> None:
    """Power the machine off."""
    folder = RunFolder((build or checkout()) / "run")
    try:
        with folder.locked():
            say("stopped" if run.stop(folder, say) else "no machine runs here")
    except MachineError as error:
        fail(str(error))


def fail(message: str) -> None:
    """Say why, on standard error, and end."""
    click.echo(f"nullbox: {message}", err=True)
    sys.exit(EXIT_TIMED_OUT if message.startswith("not ready after") else EXIT_FAILED)


if __name__ == "__main__":
    main()

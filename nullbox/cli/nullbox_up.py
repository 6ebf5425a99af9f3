"""`nullbox up`: the same tree on this host, in namespaces of its own (edge: prints, waits)."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path
from types import FrameType

import click

from nullbox.bootstrap.hosted import REBOOT
from nullbox.cli.places import file_option, folder_option
from nullbox.host import acceleration, hosted
from nullbox.host.hosted import Hosted, Instance
from nullbox.host.qemu import BINARY
from nullbox.host.run import MachineError, tail
from nullbox.protocols.errors import EXIT_FAILED, EXIT_TIMED_OUT, NullBoxError

READY_SECONDS = 120.0
NO_ISOLATION = "the process driver is NO isolation boundary: agents share this host's kernel; for development only"


@click.command("up")
@click.option(
    "--driver",
    type=click.Choice(("krun", "process")),
    default="krun",
    show_default=True,
    help="How agents run: each in a microVM, or, for development and without isolation, as a process.",
)
@folder_option("--state", "The instance's folder; one for each instance.  [default: build/up]")
@folder_option("--agents", "Folder of agents' folders.  [default: the sample agents]", exists=True)
@file_option("--config", "A nulld.toml.", exists=True)
@file_option("--image", "Root of the microVMs.")
def up_command(driver: str, state: Path | None, agents: Path | None, config: Path | None, image: Path | None) -> None:
    """Run the actor tree on this host, in namespaces of its own, until Ctrl-C.

    It has its own network namespace, without a way out, and changes nothing of the host: no rule, no route, no device.

    \b
    Examples:
      nullbox up
      nullbox up --driver process --state /tmp/one --agents ./my-agents
    """
    if config is not None:
        check_config(config, driver)
    home = Path(__file__).resolve().parents[2]
    what = Hosted(
        state=(state or home / "build" / "up").absolute(),
        driver=driver,
        agents=(agents or home / "agents").absolute(),
        config=config,
        image=microvm_image(image or home / "build" / "root.squashfs") if driver == "krun" else None,
    )
    signal.signal(signal.SIGTERM, interrupt)
    try:
        with hosted.locked(what.state):
            while run(what):
                say("starting again")
    except MachineError as error:
        fail(str(error))


def check_config(config: Path, driver: str) -> None:
    """Say what is wrong with a nulld.toml before anything is started; ends the command then."""
    from nullbox.supervision.nulld import check_driver  # the whole actor system, for who needs it
    from nullbox.supervision.settings import load

    try:
        check_driver(driver, load(config).driver)
    except NullBoxError as error:
        fail(f"{config} is wrong:\n{error.message}")


def microvm_image(image: Path) -> Path:
    """The image, if a microVM can run here: proved by a guest that did. Ends the command if not: nothing weaker is
    chosen instead."""
    choice = acceleration.choose(BINARY)
    if not choice.kvm:
        fail(
            f"no microVM can run on this host: {choice.reason}. `nullbox run` boots NullBox in an emulated machine; "
            "`nullbox up --driver process` runs agents as plain processes, which isolates nothing"
        )
    if not image.is_file():
        fail(f"{image} is not there; `make image` builds it")
    return image


def run(what: Hosted) -> bool:
    """One life of the instance. Whether somebody asked for another one. Raises MachineError."""
    instance = Instance(what)
    began = time.monotonic()
    if what.driver == "process":
        click.echo(f"nullbox: {NO_ISOLATION}", err=True)
    try:
        instance.start()
        show(what, instance.wait_ready(READY_SECONDS), time.monotonic() - began)
        code = instance.wait()
    except KeyboardInterrupt:
        ignore_interrupts()
        say("stopping")
        code = instance.stop()
    finally:
        instance.close()
    if code not in (0, REBOOT):
        raise MachineError(f"the instance ended with {code}; its log's last lines:\n{tail(what.log)}")
    say("stopped")
    return code == REBOOT


def show(what: Hosted, status: dict[str, object], seconds: float) -> None:
    """Say what runs, and how to reach and stop it."""
    say(f"ready after {seconds:.1f} s")
    say(f"isolation: {status.get('isolation')}")
    for kind in ("services", "agents"):
        items = status.get(kind)
        for item in items if isinstance(items, list) else []:
            say(f"  {kind[:-1]:<8} {item.get('name'):<12} {item.get('state')}")
    say(f"socket:   {what.socket}")
    say(f"log:      {what.log}")
    say("try:")
    for words in ("status", "tree", "agent logs pulse"):
        say(f"  {Path(sys.executable).parent / 'nullctl'} --socket {what.socket} {words}")
    say("Ctrl-C stops it")


def interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM means what Ctrl-C means."""
    raise KeyboardInterrupt


def ignore_interrupts() -> None:
    """It is being stopped already: impatience must not leave half of it behind."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def say(line: str) -> None:
    """One line for the person at the terminal."""
    click.echo(line)


def fail(message: str) -> None:
    """Say why, on standard error, and end."""
    click.echo(f"nullbox: {message}", err=True)
    sys.exit(EXIT_TIMED_OUT if message.startswith("not ready after") else EXIT_FAILED)

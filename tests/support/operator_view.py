"""A booted machine as an operator sees it: nullctl, the socket, the console. For the boot tests."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from nullbox.host import run
from nullbox.host.qemu import Machine as Description
from nullbox.host.run import RunFolder

NULLCTL = Path(sys.executable).parent / "nullctl"

SABOTEUR_PORT = "nullbox.test.0"
"""See `tests/boot/saboteur.py`."""

SLOW = 10.0
"""How many times longer than on real hardware things may take under emulation on a busy machine."""

LOOKING = 0.2
"""Share of a wait that may go into looking. Each look takes processor time from what is waited for, and where that is
one emulated processor, looking ten times a second can double the time that a VM takes to boot."""
LONGEST_REST = 2.0
"""Seconds between two looks at most, unless more are asked for."""

T = TypeVar("T")


@dataclass(frozen=True)
class Done:
    """What a finished nullctl said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@dataclass(frozen=True)
class Machine:
    folder: RunFolder
    acceleration: str
    boot_seconds: float

    def nullctl(self, *words: str, timeout: float = 90.0) -> Done:
        """Run nullctl against this machine."""
        environ = {**os.environ, "NULLD_SOCKET": str(self.folder.socket), "NO_COLOR": "1"}
        done = subprocess.run(
            [NULLCTL, *words], capture_output=True, text=True, timeout=timeout, env=environ, stdin=subprocess.DEVNULL
        )
        return Done(done.returncode, done.stdout, done.stderr)

    def ok(self, *words: str) -> str:
        """The same, and it has to succeed."""
        done = self.nullctl(*words)
        assert done.code == 0, f"nullctl {' '.join(words)} ended with {done.code}: {done.err}"
        return done.out

    def json(self, *words: str) -> Any:
        return json.loads(self.ok("-o", "json", *words))

    def json_lines(self, *words: str) -> list[Any]:
        return [json.loads(line) for line in self.ok("-o", "json", *words).splitlines()]

    def node(self, name: str) -> dict[str, Any]:
        """One node of the tree."""
        return next(node for node in self.json("tree") if node["id"] == name)

    def agent_state(self, name: str) -> str:
        return str(self.node(f"cage:{name}")["state"])

    def until_state(self, name: str, state: str, *, seconds: float = 180.0) -> None:
        """Wait for an agent to be `running`, `stopped` … (The machine looks: that costs it least.)"""
        done = self.nullctl("agent", "wait", name, "--for", state, "--timeout", f"{seconds:.0f}s", timeout=seconds + 60)
        assert done.code == 0, done.err

    @contextmanager
    def paused(self, *names: str) -> Iterator[None]:
        """These agents paused meanwhile: an emulated processor has no time for more than two VMs at once."""
        for name in names:
            self.until_state(name, "running")
            self.ok("agent", "pause", name)
        yield
        for name in names:
            self.ok("agent", "resume", name)

    def connect(self) -> socket.socket:
        """A bare connection to the gateway, for saying what nullctl would not."""
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(30.0)
        connection.connect(str(self.folder.socket))
        return connection

    def lose_power(self) -> None:
        """End QEMU as a loss of power ends a machine: at once, with nothing flushed."""
        found = run.running(self.folder)
        assert found is not None, f"the machine has ended by itself:\n{run.tail(self.folder.console)}"
        found.qemu.send(signal.SIGKILL)
        until(lambda: not found.qemu.alive() and not found.keeper.alive(), seconds=30, what="the machine to be off")

    @property
    def saboteur(self) -> Path:
        return self.folder.path / "test.sock"

    def kill(self, name: str, number: int = signal.SIGKILL) -> int:
        """Send a signal to the process of a node of the tree, from inside the machine; its pid."""
        pid = int(self.node(name)["pid"])
        answer = self._told(f"{int(number)} {pid}")
        assert answer == "sent", answer
        return pid

    def memory(self, pid: int) -> list[list[Any]]:
        """The mappings of a process inside the machine, see `saboteur.mappings`."""
        answer = self._told(f"memory {pid}")
        assert answer.startswith("["), f"{answer}; is it a kernel with CONFIG_PROC_PAGE_MONITOR?"
        return list(json.loads(answer))

    def _told(self, line: str) -> str:
        """What the saboteur answers."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rw") as lines:
            connection.settimeout(30.0)
            connection.connect(str(self.saboteur))
            lines.write(line + "\n")
            lines.flush()
            return lines.readline().strip()

    def console(self) -> str:
        return self.folder.console.read_text(errors="replace")


def until(look: Callable[[], T | None], *, seconds: float, what: str, every: float = 0.1) -> T:
    """Look until there is something to see; fail with `what` after `seconds`. every: seconds between looks, at least;
    looks that take long are further apart (see `LOOKING`)."""
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if seen := look():
            return seen
        now = time.monotonic()
        if now > deadline:
            raise AssertionError(f"not within {seconds:.0f} s: {what}; last seen: {seen!r}")
        rest = (now - began) * (1 - LOOKING) / LOOKING
        time.sleep(max(every, min(rest, LONGEST_REST)))


def serial_port(name: str, path: Path) -> tuple[str, ...]:
    """Options of QEMU for one more virtio-serial port, which leads to a Unix socket that QEMU listens on."""
    chardev = f"socket,id={name},path={path},server=on,wait=off"
    return ("-chardev", chardev, "-device", f"virtserialport,chardev={name},name={name}")


@contextmanager
def booted(
    build: Path,
    scratch: Path,
    image: str = "test.squashfs",
    memory_mib: int = 2048,
    *,
    state: Path | None = None,
    wire: Path | None = None,
    append: tuple[str, ...] = (),
    reboots: bool = False,
    extra: tuple[str, ...] = (),
    seconds: float = 300.0,
    wait: bool = True,
    adjust: Callable[[Description], Description] = lambda machine: machine,
) -> Iterator[Machine]:
    """Boot a machine with a folder of its own; it is powered off, or ended by its pid, whatever happens.

    With the test image it is one whose processes `Machine.kill` can end. state: its state disk. wire: where its network
    card leads (see `host.qemu`). append, reboots, extra: as there.
    seconds: until it has to be healthy; wait: until it is.
    adjust: changes the machine that would be booted into the one that is.
    """
    folder = RunFolder(scratch / "run")
    folder.path.mkdir(parents=True, exist_ok=True)
    if image == "test.squashfs":
        append = (*append, "init=/sbin/saboteur")
        extra = (*extra, *serial_port(SABOTEUR_PORT, folder.path / "test.sock"))
    description, choice = run.describe_machine(
        folder,
        build,
        image,
        memory_mib=memory_mib,
        state=state,
        wire=wire,
        append=append,
        reboots=reboots,
        extra=extra,
    )
    began = time.monotonic()
    try:
        run.start(folder, adjust(description), str(choice))
        if wait:
            run.wait_ready(folder, seconds)
        yield Machine(folder, str(choice), time.monotonic() - began)
    finally:
        run.stop(folder, print)

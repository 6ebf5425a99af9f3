"""Start, find and stop the machine of a folder (edge: processes, files, the gateway).

`build/run` holds one machine: its sockets, its logs, its record. Starting it twice is no error: a machine that runs
the same kernel and image is kept, another one is replaced.
"""

from __future__ import annotations

import fcntl
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nullbox.host import acceleration, qemu, record, verified
from nullbox.host.acceleration import Choice
from nullbox.host.qemu import Machine
from nullbox.host.record import Record
from nullbox.protocols.errors import NullBoxError
from nullbox.rpc.client import Client

Say = Callable[[str], None]

POWER_OFF_SECONDS = 30.0
"""For an orderly end: every agent may take its 5 s, and emulation is slow."""
KILL_SECONDS = 5.0
POLL_SECONDS = 1.0
"""Each look costs an emulated machine some of the time that it needs to get up."""
CONSOLE_TAIL = 30
HOLD_MARK = "NullBox: recovery hold"
"""What PID 1 writes on the console when it gives up."""


class MachineError(Exception):
    """The machine did not start, or not stop; the message says what was seen."""


@dataclass(frozen=True)
class RunFolder:
    """The files of one machine below a folder, usually `build/run`."""

    path: Path

    @property
    def socket(self) -> Path:
        """Where clients reach the gateway."""
        return self.path / "nulld.sock"

    @property
    def console(self) -> Path:
        return self.path / "console.log"

    @property
    def log(self) -> Path:
        """What the relay and QEMU have to say."""
        return self.path / "relay.log"

    @property
    def record(self) -> Path:
        return self.path / "machine.json"

    @property
    def gateway(self) -> Path:
        return self.path / "gateway.sock"

    @property
    def qmp(self) -> Path:
        return self.path / "qmp.sock"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Only one command at a time starts or stops the machine."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def describe_machine(
    folder: RunFolder, build: Path, image: str = "root.squashfs", **more: Any
) -> tuple[Machine, Choice]:
    """The machine of this folder, with kernel and image of the folder `build`, and how it is accelerated, by a probe.

    more: what else `qemu.Machine` can have.

    Raises:
        MachineError: kernel or image are not built.
    """
    kernel, root = build / "bzImage", build / image
    for path in (kernel, root, verified.beside(root)):
        if not path.is_file():
            raise MachineError(f"{path} is not there; `make kernel image` builds it")
    choice = acceleration.choose(qemu.BINARY)
    files: dict[str, Any] = {"console": folder.console, "gateway": folder.gateway, "qmp": folder.qmp}
    machine = Machine(kernel=kernel, root=root, verified=verified.read(root), kvm=choice.kvm, **files, **more)
    return machine, choice


def running(folder: RunFolder) -> Record | None:
    """The record of the machine that runs in this folder now."""
    found = record.read(folder.record)
    return found if found and found.keeper.alive() else None


def start(folder: RunFolder, machine: Machine, acceleration: str) -> None:
    """Start a machine in the background; returns when its processes run, long before it is ready."""
    plan = {
        "argv": qemu.argv(machine),
        "gateway": str(machine.gateway),
        "qmp": str(machine.qmp),
        "socket": str(folder.socket),
        "record": str(folder.record),
        "identity": record.identity_of(machine),
        "acceleration": acceleration,
    }
    plan_file = folder.path / "plan.json"
    plan_file.write_text(json.dumps(plan, indent=2) + "\n")
    folder.record.unlink(missing_ok=True)
    folder.console.write_text("")
    with folder.log.open("w") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "nullbox.host.keeper", str(plan_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + 20.0
    while not running(folder):
        if keeper.poll() is not None or time.monotonic() > deadline:
            raise MachineError(f"QEMU did not start:\n{tail(folder.log)}")
        time.sleep(0.02)


def wait_ready(folder: RunFolder, seconds: float) -> dict[str, Any]:
    """Wait until the system is healthy and every agent has got past its start; returns its `status`."""
    deadline = time.monotonic() + seconds
    last = "the gateway has not answered"
    while time.monotonic() < deadline:
        if not running(folder):
            raise MachineError(f"the machine has ended; its console's last lines:\n{tail(folder.console)}")
        if HOLD_MARK in folder.console.read_text(errors="replace"):
            raise MachineError(
                f"the system gave up and holds; `nullbox stop` ends it; its console:\n{tail(folder.console)}"
            )
        try:
            with Client(folder.socket, timeout=10.0) as client:
                status: dict[str, Any] = client.call("status")
            if status.get("healthy") and not starting(status):
                return status
            kind = "starting" if status.get("healthy") else "not healthy"
            last = f"the system says that it is {kind}: {describe(status)}"
        except NullBoxError as error:
            last = error.message
        time.sleep(POLL_SECONDS)
    raise MachineError(f"not ready after {seconds:.0f} s ({last}); its console's last lines:\n{tail(folder.console)}")


def starting(status: dict[str, Any]) -> list[str]:
    """The agents whose VMs are still booting."""
    return [str(item.get("name")) for item in status.get("agents", []) if item.get("state") == "starting"]


def describe(status: dict[str, Any]) -> str:
    """One line: each service and agent with its state."""
    items = [*status.get("services", []), *status.get("agents", [])]
    return ", ".join(f"{item.get('name')} {item.get('state')}" for item in items) or "nothing runs"


def tail(path: Path, lines: int = CONSOLE_TAIL) -> str:
    """The last lines of a file, indented."""
    try:
        text = path.read_text(errors="replace")
    except OSError as error:
        return f"  ({error})"
    return "\n".join("  " + line for line in text.splitlines()[-lines:]) or "  (empty)"


def stop(folder: RunFolder, say: Say) -> bool:
    """End the machine: orderly, then by force. Returns whether there was one."""
    found = running(folder)
    if found is None:
        folder.record.unlink(missing_ok=True)
        return False
    try:
        with Client(folder.socket, timeout=10.0) as client:
            client.call("power.off")
        say("stop: the system is powering off")
        if _wait_end(found, POWER_OFF_SECONDS):
            return True
        say(f"stop: it has not ended after {POWER_OFF_SECONDS:.0f} s; ending it by force")
    except NullBoxError as error:
        say(f"stop: no orderly end ({error.message}); ending it by force")
        if _wait_end(found, 1.0):
            return True
    for number in (signal.SIGTERM, signal.SIGKILL):
        found.keeper.send(number)
        if _wait_end(found, KILL_SECONDS):
            break
        found.qemu.send(signal.SIGKILL)
    if not _wait_end(found, KILL_SECONDS):
        raise MachineError(f"process {found.qemu.pid} does not end")
    folder.record.unlink(missing_ok=True)
    return True


def _wait_end(found: Record, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while found.keeper.alive() or found.qemu.alive():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True

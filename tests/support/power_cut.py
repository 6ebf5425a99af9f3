"""A small machine under load whose power can be cut: our kernel, an ext4 disk, and `tests/boot/storm.py` as PID 1.

No supervision, no microVM: it writes some seconds after its start, so that one test can cut its power many times.
Looking at the disk mounts nothing: e2fsprogs read a copy of it.
"""

from __future__ import annotations

import random
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from operator_view import serial_port

from nullbox.ctxgraph import evidence
from nullbox.ctxgraph.query import Window
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.store import Store
from nullbox.host import acceleration, qemu

TOOLS = ("mke2fs", "e2fsck", "debugfs")
STORE = "ctxgraph.sqlite"
PORT = "nullbox.storm.0"
FIRST_SECONDS = 120.0
"""Until the first acknowledgement, on an emulated and busy machine."""


def missing_tools() -> list[str]:
    return [tool for tool in TOOLS if shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin") is None]


def tool(name: str, *words: str, good: tuple[int, ...] = (0,)) -> str:
    """Run a program of e2fsprogs; fails with what it said."""
    path = shutil.which(name, path="/usr/sbin:/sbin:/usr/bin:/bin")
    assert path is not None, f"{name} (e2fsprogs) is missing"
    done = subprocess.run([path, *words], capture_output=True, text=True)
    assert done.returncode in good, f"{name} {' '.join(words)}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


@dataclass
class Victim:
    """The machine and its disk over many lives. `promised`: seq → hash of every acknowledgement that was heard."""

    folder: Path
    kernel: Path
    root: Path
    seed: int
    promised: dict[int, str] = field(default_factory=dict)
    opened: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.disk = self.folder / "disk.img"
        with self.disk.open("wb") as file:
            file.truncate(256 << 20)
        tool("mke2fs", "-q", "-F", "-t", "ext4", str(self.disk))
        self.kvm = acceleration.choose(qemu.BINARY).kvm

    def live(self, life: int, seconds: Callable[[], float]) -> int:
        """Start it, let it write for `seconds()` after its first acknowledgement, cut its power: SIGKILL.

        Returns the number of acknowledgements that were heard.
        """
        console, gateway, port = (self.folder / name for name in (f"console{life}.log", "gateway.sock", "storm.sock"))
        port.unlink(missing_ok=True)
        gateway.unlink(missing_ok=True)
        machine = qemu.Machine(
            kernel=self.kernel,
            root=self.root,
            console=console,
            gateway=gateway,
            kvm=self.kvm,
            cpus=1,
            memory_mib=256,
            state=self.disk,
            append=("init=/sbin/storm", f"storm.seed={self.seed}", "quiet"),
            extra=serial_port(PORT, port),
        )
        process = subprocess.Popen(qemu.argv(machine), stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            heard = self._listen(process, port, console, seconds)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        return heard

    def _listen(self, process: subprocess.Popen[bytes], port: Path, console: Path, seconds: Callable[[], float]) -> int:
        deadline = time.monotonic() + FIRST_SECONDS
        with socket.socket(socket.AF_UNIX) as connection:
            while True:
                try:
                    connection.connect(str(port))
                    break
                except OSError:
                    assert process.poll() is None, "QEMU ended"
                    assert time.monotonic() < deadline, "QEMU opens no port"
                    time.sleep(0.02)
            data, end = b"", None
            while end is None or time.monotonic() < end:
                connection.settimeout(max(0.001, (end or deadline) - time.monotonic()))
                try:
                    piece = connection.recv(1 << 16)
                except TimeoutError:
                    break
                assert piece, f"the machine ended by itself: {console.read_text(errors='replace')[-2000:]}"
                data += piece
                if end is None and re.search(rb"^\d+ [0-9a-f]{64}\n", data, re.MULTILINE):
                    end = time.monotonic() + seconds()
            assert end is not None, f"nothing was acknowledged: {console.read_text(errors='replace')[-2000:]}"
            process.send_signal(signal.SIGKILL)
            # What QEMU had passed on before its end was acknowledged as well.
            connection.settimeout(10.0)
            while piece := connection.recv(1 << 16):
                data += piece
        lines = data.decode().rpartition("\n")[0].splitlines()
        fresh = {}
        for line in lines:
            first, second, *_ = line.split()
            if first == "open":
                self.opened.append(int(second))
            else:
                fresh[int(first)] = second
        assert not fresh.keys() & self.promised.keys(), "a seq was acknowledged twice"
        self.promised |= fresh
        return len(fresh)

    def check(self) -> int:
        """What the disk holds now: every promise kept, the log whole. Returns the size of the log."""
        copy = self.folder / "copy.img"
        subprocess.run(["cp", "--sparse=always", str(self.disk), str(copy)], check=True)
        tool("e2fsck", "-p", str(copy), good=(0, 1))
        tool("e2fsck", "-f", "-n", str(copy))
        place = self.folder / "looked-at"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        for suffix in ("", "-wal"):
            tool("debugfs", "-R", f"dump /{STORE}{suffix} {place / STORE}{suffix}", str(copy))
        store = Store(place / STORE, limits=lambda agent: None)
        size = store.size
        store.close()
        reader = Reader(place / STORE, seconds=60.0)
        found: dict[int, str] = {}
        after: int | None = 0
        while after is not None:
            page = reader.query([""], Window(after, size + 1), 500, kinds=4)
            found |= {entry.seq: entry.hash.hex() for entry in page.entries}
            after = page.next
        lost = {seq: hash for seq, hash in self.promised.items() if found.get(seq) != hash}
        assert not lost, f"{len(lost)} acknowledged records are lost or others, the first: {min(lost.items())}"
        report = evidence.audit(reader)
        assert report["ok"], report["problems"]
        reader.close()
        return size


def moments(seed: int) -> Callable[[], float]:
    """How long each life lasts after its first acknowledgement, in seconds."""
    number = random.Random(seed)
    return lambda: number.choice((0.05, 0.5, 3.0)) * number.random()

"""Effects: what `nullbox doctor` looks at. Reads /proc and the build folder, asks QEMU and dpkg, runs the probe guest;
changes nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from nullbox.gateway import machine
from nullbox.host import acceleration
from nullbox.host.doctor import NAMESPACES, HostFacts
from nullbox.host.hosted import cgroup_mount
from nullbox.host.qemu import BINARY
from nullbox.host.run import RunFolder
from nullbox.protocols.errors import NullBoxError
from nullbox.rpc.client import Client

PATIENCE = 10.0


def gather(build: Path) -> HostFacts:
    """Everything, in a few seconds. build: the folder of kernel and image."""
    choice = acceleration.choose(BINARY)
    folder = RunFolder(build / "run")
    root = cgroup_mount(_read(Path("/proc/self/mountinfo")))
    memory = machine.memory()
    return HostFacts(
        kvm=choice.kvm,
        acceleration=str(choice),
        kvm_readable=os.access("/dev/kvm", os.R_OK | os.W_OK),
        qemu=qemu_version(_output(BINARY, "--version")),
        python=sys.version_info[:2],
        root=os.geteuid() == 0,
        cgroup_root=str(root) if root else None,
        controllers=tuple(_read(root / "cgroup.controllers").split()) if root else (),
        namespaces=tuple(name for name in NAMESPACES if Path(f"/proc/self/ns/{name}").exists()),
        tun=Path("/dev/net/tun").exists(),
        nftables=nftables_problem(),
        missing=tuple(missing()),
        kernel_built=(build / "bzImage").is_file(),
        image_built=(build / "root.squashfs").is_file(),
        build=str(build),
        disk_free=disk_free(build),
        memory_available_mib=memory.get("total_mib", 0) - memory.get("used_mib", 0),
        socket=str(folder.socket),
        machine=behind(folder.socket),
        now=time.time(),
        newest_file=Path(__file__).stat().st_mtime,
    )


def qemu_version(text: str) -> tuple[int, int] | None:
    """From the first line of `--version`. Pure."""
    found = re.search(r"version (\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def nftables_problem() -> str | None:
    """Why rulesets cannot be loaded; None if the library is there."""
    try:
        import nftables

        nftables.Nftables()
    except (ImportError, OSError) as error:
        return f"libnftables does not load: {error}"
    return None


def missing() -> list[str]:
    """Packages that are not installed; none where there is no checkout that wants any, and no dpkg to ask.

    `host.setup` belongs to the checkout (it reads `kernel.packages`), so it is asked in a process that runs there.
    """
    program = "from nullbox.host.setup import PACKAGES; print(*PACKAGES)"
    wanted = _output(sys.executable, "-c", program, folder=Path(__file__).resolve().parents[2]).split()
    if not wanted:
        return []
    text = _output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted)
    installed = {line.split()[0] for line in text.splitlines() if line.split()[1:] == ["installed"]}
    return [name for name in wanted if name not in installed] if text else []


def disk_free(folder: Path) -> int:
    """Bytes that may be written in a folder that need not exist."""
    while not folder.exists():
        folder = folder.parent
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize


def behind(socket: Path) -> str:
    """Who answers at a socket: `answers`, `none` without one, or why not."""
    if not socket.exists():
        return "none"
    try:
        with Client(socket, timeout=PATIENCE) as client:
            client.call("version")
    except NullBoxError as error:
        return error.message
    return "answers"


def _output(*argv: str, folder: Path | None = None) -> str:
    """What a program prints; nothing if there is no such program."""
    try:
        return subprocess.run(
            argv, capture_output=True, text=True, timeout=PATIENCE, stdin=subprocess.DEVNULL, cwd=folder
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""

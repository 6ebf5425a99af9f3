"""What runs inside the namespaces of a system under test: PID 1, and the launcher, each with its fail points.

An edge module. PID 1 is the product's own loop; only what would touch the machine is another: no watchdog, no
kernel log, no power. `python -m nullbox.chaos.inside init|nulld FOLDER`.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NoReturn

from nullbox.chaos.board import Board
from nullbox.chaos.standin import FORBIDDEN
from nullbox.chaos.weave import weave
from nullbox.protocols.layout import Layout

CGROUPS = Path("/sys/fs/cgroup")
ACTORS = frozenset({"egress", "ctxgraph", "gateway", "cage", "nulld", "launcher"})
UPLINK = ("up0", "up1")
"""The two ends of a cable that leads nowhere: what is forwarded out of the first is seen at the second."""


def layout_of(folder: Path) -> Layout:
    return Layout(folder / "r", folder / "s", folder / "y")


def main() -> None:
    role, place = sys.argv[1:]
    folder = Path(place)
    config = json.loads((folder / "config.json").read_text())
    if role == "init":
        init(folder, config)
    nulld(folder, config)


# --- the launcher and its actors


def nulld(folder: Path, config: dict[str, Any]) -> None:
    """The product's launcher, on the product's tree, with a stand-in for the VM and for cgroup limits."""
    from nullbox.actors.admin import Admin
    from nullbox.cage import cgroup, drivers, vm
    from nullbox.egress.dns import server as resolvers
    from nullbox.gateway import service as gateway
    from nullbox.supervision import nulld as launcher
    from nullbox.supervision import supervisor, tree
    from nullbox.supervision.backoff import Backoff

    # The logger is made for the first record; the first fault would make it, and look like a leak.
    begin = Admin.__init__

    def begin_with_a_logger(self: Admin, *arguments: Any) -> None:
        begin(self, *arguments)
        self.start_logger()

    replace(Admin, "__init__", begin_with_a_logger)
    # The machine's cgroup v2 may come without controllers; freezing and killing work all the same.
    create = cgroup.Cgroup.create
    replace(cgroup.CgroupTree, "_delegate", lambda self, folder: None)
    replace(cgroup.Cgroup, "create", lambda self, limits: create(self, {}))
    replace(drivers, "CgroupTree", functools.partial(cgroup.CgroupTree, branch=config["cgroup"]))
    replace(vm, "RUNNER", "nullbox.chaos.standin")
    replace(tree, "CAGE_BACKOFF", Backoff(**config["backoff"]))
    replace(supervisor, "WARM_AFTER", 0.5)
    replace(launcher, "BEAT", config["beat"])
    replace(gateway, "SICK_AFTER", config["heartbeat_timeout"])
    replace(gateway, "BEAT", config["beat"])
    replace(resolvers, "SICK_AFTER_S", config["heartbeat_timeout"])
    weave(Board(folder / "board"), ACTORS)
    roots = layout_of(folder)
    launcher.main(["--run", str(roots.run), "--state", str(roots.state), "--system", str(roots.system)])


# --- PID 1


def init(folder: Path, config: dict[str, Any]) -> NoReturn:
    """Make the place ready, then be the product's PID 1."""
    from nullbox.bootstrap import lifecycle, pid1
    from nullbox.bootstrap.cmdline import Cmdline
    from nullbox.bootstrap.host import LinuxHost
    from nullbox.bootstrap.log import KernelLog
    from nullbox.bootstrap.watchdog import Watchdog

    assert os.getpid() == 1, "in a pid namespace of its own"
    run("mount", "-t", "cgroup2", "cgroup2", str(CGROUPS))
    (CGROUPS / config["cgroup"]).mkdir(exist_ok=True)
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", UPLINK[0], "type", "veth", "peer", "name", UPLINK[1])
    for end in UPLINK:
        run("ip", "link", "set", end, "up")
    run("ip", "addr", "add", "198.51.100.1/30", "dev", UPLINK[0])
    run("ip", "route", "add", "default", "via", "198.51.100.2", "dev", UPLINK[0])
    run("ip", "neigh", "add", "198.51.100.2", "lladdr", "02:00:00:00:00:02", "dev", UPLINK[0], "nud", "permanent")
    start_sniffer(folder)

    class Confined(LinuxHost):
        """The product's host, without what would leave the namespaces."""

        def sync(self) -> None:
            """Not of the whole machine."""

        def read_file(self, path: str, most: int) -> bytes:
            """Nothing lasts here, and there is no uplink of the machine's."""
            return b""

        def replace_file(self, path: str, content: bytes, mode: int) -> None:
            """Not outside of the folder."""

        def reboot(self, how: int) -> None:
            remove_cgroups(CGROUPS / config["cgroup"])
            (folder / "ended").write_text(str(how))
            os._exit(0)

    replace(lifecycle, "FIRST_DELAY", 0.05)
    replace(lifecycle, "MAX_DELAY", 0.2)
    replace(lifecycle, "MAX_RESTARTS", 100_000)
    host = Confined()
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.environ.get("PYTHONPATH", "")}

    def start(heartbeat_fd: int) -> int:
        argv = [sys.executable, "-m", "nullbox.chaos.inside", "nulld", str(folder)]
        return host.spawn(argv, {**environment, pid1.HEARTBEAT_ENV: str(heartbeat_fd)}, heartbeat_fd)

    weave(Board(folder / "board"), frozenset({"pid1"}))
    log = KernelLog(str(folder / "pid1.log"))
    (folder / "pid1.log").touch()
    loop = pid1.Pid1(
        host,
        log,
        Cmdline(heartbeat_timeout=config["heartbeat_timeout"], start_timeout=config["start_timeout"]),
        layout_of(folder),
        start=start,
        watchdog=Watchdog(str(folder / "no-watchdog")),
    )
    (folder / "ready").touch()
    loop.run()


def replace(holder: Any, name: str, value: Any) -> None:
    """Put something else in the place of a part of the product. It has to be there."""
    getattr(holder, name)
    setattr(holder, name, value)


def run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=30)


def start_sniffer(folder: Path) -> None:
    """A process that writes down every IPv4 packet of an agent's that comes out of the uplink, whatever its source."""
    import socket

    forbidden = socket.inet_aton(FORBIDDEN)

    listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0800))
    listener.bind((UPLINK[1], 0))
    if os.fork() == 0:
        with contextlib.suppress(BaseException), open(folder / "leaked", "ab", buffering=0) as leaked:
            while True:
                packet = listener.recv(65535)
                if packet[26:28] == bytes((10, 90)) or packet[30:34] == forbidden:
                    leaked.write(packet[14:34].hex().encode() + b"\n")
        os._exit(0)
    listener.close()


def remove_cgroups(branch: Path) -> None:
    for folder in [*branch.glob("*/"), branch]:
        with contextlib.suppress(OSError):
            folder.rmdir()


if __name__ == "__main__":
    main()

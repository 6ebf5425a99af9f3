"""The first program of ours in an agent's VM: make the guest ready, run the agent, end with its code.

libkrun's init is PID 1 of the guest. It mounts /proc, /sys and /dev, brings `lo` up, and executes this file with one
argument, the configuration (`nullbox/cage/guestconfig.py` writes it). Before the agent's first instruction all
of its mounts and its network are there. If one of them cannot be had, the agent is not started: the console says why,
and the code is 125.

While the agent runs, the launcher listens on vsock port 9101 for the host. It says hello in one line, and takes
`{"op": "terminate"}`, which it passes on as SIGTERM.

Sources: mount(2), netdevice(7), rtnetlink's older ioctls in `net/route.h`, vsock(7), virtiofs in Linux's
Documentation/filesystems.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import fcntl
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

CONTROL_PORT = 9101
CTX_PORT = 9100
FAILED = 125
CONFIG_VERSION = 1
MAX_COMMAND = 4096
MAX_CONNECTIONS = 4

AGENT_FOLDER = "/agent"
LIBRARY = "/usr/lib/nullbox"
DATA = "/data"

# mount(2)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32

# linux/sockios.h, linux/if.h, linux/route.h
SIOCADDRT, SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x890B, 0x8913, 0x8914, 0x8916, 0x891C
IFF_UP = 1
RTF_UP, RTF_GATEWAY = 1, 2

TMPFS = (
    ("/tmp", MS_NOSUID | MS_NODEV, "mode=1777"),
    ("/run", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755"),
)
"""Where the agent may write on a root that is read-only: mount point, flags, options. /dev/shm is init's work."""


WELCOME_SECONDS = 10.0
"""How long the end of an agent waits for the host to have heard of it."""


class Unready(Exception):
    """The guest cannot be made ready; the text says what was tried and why it failed."""


def main(arguments: list[str]) -> NoReturn:
    """Run the agent that the configuration names."""
    try:
        config = decode(arguments)
        prepare(config)
        supervisor = Supervisor(listen(), start(config))
    except Unready as error:
        print(f"nullbox: the agent cannot start: {error}", file=sys.stderr, flush=True)
        sys.exit(FAILED)
    sys.exit(supervisor.run())


def decode(arguments: list[str]) -> dict[str, Any]:
    """The configuration from the command line. Raises Unready."""
    try:
        [word] = arguments
        config = json.loads(zlib.decompress(base64.urlsafe_b64decode(word + "=" * (-len(word) % 4))))
        if config["v"] != CONFIG_VERSION:
            raise ValueError(f"it has version {config['v']}, and this launcher knows {CONFIG_VERSION}")
    except (ValueError, KeyError, TypeError, zlib.error) as error:
        raise Unready(f"its configuration cannot be read: {error}") from error
    return dict(config)


def prepare(config: dict[str, Any]) -> None:
    """Mounts, host name, network: everything but the agent. Raises Unready."""
    for target, flags, options in TMPFS:
        mount("tmpfs", target, "tmpfs", flags, options)
    mount_shares(config["mounts"])
    attempt(f"set the host name to {config['name']}", lambda: socket.sethostname(config["name"]))
    if "net" in config:
        interface, address, prefix, gateway = config["net"]
        configure_network(interface, address, prefix, gateway)
        Path("/run/resolv.conf").write_text(f"nameserver {gateway}\noptions timeout:2 attempts:2\n")


def attempt(what: str, action: Callable[[], Any]) -> Any:
    """Do something; a failure becomes Unready with its purpose."""
    try:
        return action()
    except OSError as error:
        raise Unready(f"cannot {what}: {error.strerror or error}") from error


# --- mounts ------------------------------------------------------------------------------------------------


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2). Raises Unready."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = [text.encode() for text in (source, target, kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise Unready(f"cannot mount {source} ({kind}) on {target}: {os.strerror(number)}")


def mount_shares(shares: list[list[Any]]) -> None:
    """Mount each virtio-fs device at its path. Below /data the folders to mount on are made on a small tmpfs."""
    grants = [target for _, target, _ in shares if target.startswith(f"{DATA}/")]
    if grants:
        mount("tmpfs", DATA, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=256k")
        for target in grants:
            attempt(f"make the mount point {target}", partial(Path(target).mkdir, parents=True, exist_ok=True))
    for tag, target, read_only in shares:
        mount(tag, target, "virtiofs", MS_NOSUID | MS_NODEV | (MS_RDONLY if read_only else 0))
    if grants:
        mount("tmpfs", DATA, "tmpfs", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


# --- network -----------------------------------------------------------------------------------------------


def configure_network(interface: str, address: str, prefix: int, gateway: str) -> None:
    """Address, netmask, up, default route. Raises Unready."""
    mask = socket.inet_ntoa(struct.pack("!I", (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        steps: tuple[tuple[str, int, bytes], ...] = (
            (f"give {interface} the address {address}", SIOCSIFADDR, ifreq(interface, sockaddr(address))),
            (f"give {interface} the netmask {mask}", SIOCSIFNETMASK, ifreq(interface, sockaddr(mask))),
            (f"bring {interface} up", SIOCSIFFLAGS, ifreq(interface, struct.pack("h", IFF_UP))),
            (f"route everything to {gateway}", SIOCADDRT, rtentry(gateway)),
        )
        for what, request, argument in steps:
            attempt(what, partial(fcntl.ioctl, control, request, argument))


def sockaddr(address: str) -> bytes:
    """struct sockaddr_in, without a port."""
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_aton(address))


def ifreq(interface: str, data: bytes) -> bytes:
    """struct ifreq: 16 bytes of name, 24 of union."""
    return struct.pack("16s24s", interface.encode(), data)


def rtentry(gateway: str) -> bytes:
    """struct rtentry of 64-bit Linux: a default route. Destination and mask are 0.0.0.0."""
    anywhere = sockaddr("0.0.0.0")  # noqa: S104 - a destination, nothing is bound
    head = struct.pack("L", 0) + anywhere + sockaddr(gateway) + anywhere
    return head + struct.pack("HhLPhPLLH6x", RTF_UP | RTF_GATEWAY, 0, 0, 0, 0, 0, 0, 0, 0)


# --- the agent ---------------------------------------------------------------------------------------------


def environment(config: dict[str, Any]) -> dict[str, str]:
    """The whole environment of the agent."""
    return {
        "AGENT_NAME": config["name"],
        "AGENT_VERSION": config["version"],
        "CTXGRAPH_PORT": str(CTX_PORT),
        "PATH": "/usr/bin:/bin",
        "HOME": "/tmp",
        "LANG": "C.UTF-8",
        "PYTHONPATH": LIBRARY,
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def start(config: dict[str, Any]) -> subprocess.Popen[bytes]:
    """Start the agent in its folder and in a session of its own. Raises Unready."""
    command = config["argv"]
    return attempt(  # type: ignore[no-any-return]
        f"run {command[0]}",
        lambda: subprocess.Popen(
            command, cwd=AGENT_FOLDER, env=environment(config), stdin=subprocess.DEVNULL, start_new_session=True
        ),
    )


def listen() -> socket.socket:
    """The listener for the host. Raises Unready."""

    def make() -> socket.socket:
        listener = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
        listener.bind((socket.VMADDR_CID_ANY, CONTROL_PORT))
        listener.listen(MAX_CONNECTIONS)
        listener.setblocking(False)
        return listener

    return attempt(f"listen on vsock port {CONTROL_PORT}", make)  # type: ignore[no-any-return]


class Supervisor:
    """Waits for the agent's end, and serves the host meanwhile."""

    def __init__(self, listener: socket.socket, agent: subprocess.Popen[bytes]) -> None:
        self._listener = listener
        self._agent = agent
        self._buffers: dict[socket.socket, bytes] = {}
        self._welcomed = False
        self._wake, wake = os.pipe()
        for end in (self._wake, wake):
            os.set_blocking(end, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda *_: self.terminate())

    def run(self) -> int:
        """Until the agent ends: its exit status, or 128 and the number of the signal that killed it.

        An agent may end before the host has heard of it. A VM that ends unheard looks like one whose guest crashed
        while booting, so the launcher stays until it was welcomed, if the host does so in time.
        """
        while (code := self._agent.poll()) is None:
            self._serve(None)
        until = time.monotonic() + WELCOME_SECONDS
        while not self._welcomed and (left := until - time.monotonic()) > 0:
            self._serve(left)
        return code if code >= 0 else 128 - code

    def _serve(self, timeout: float | None) -> None:
        """Wait for something to happen, at most that many seconds, and deal with it."""
        sources: list[int | socket.socket] = [self._wake, self._listener, *self._buffers]
        ready, _, _ = select.select(sources, [], [], timeout)
        for source in ready:
            if source is self._listener:
                self._accept()
            elif isinstance(source, socket.socket):
                self._receive(source)
            else:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wake, 4096)

    def terminate(self) -> None:
        """Pass SIGTERM on to the agent, unless it is gone."""
        self._agent.send_signal(signal.SIGTERM)

    def hello(self) -> bytes:
        """The first line of every connection."""
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        hello = {"kernel": os.uname().release, "boot_id": boot_id, "pid": self._agent.pid}
        return json.dumps(hello).encode() + b"\n"

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        if len(self._buffers) >= MAX_CONNECTIONS:
            self._drop(next(iter(self._buffers)))
        connection.setblocking(False)
        self._buffers[connection] = b""
        try:
            connection.send(self.hello())
        except OSError:
            self._drop(connection)

    def _receive(self, connection: socket.socket) -> None:
        try:
            data = connection.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        *lines, rest = (self._buffers.get(connection, b"") + data).split(b"\n")
        self._buffers[connection] = rest
        for line in lines:
            self._command(line)
        if not data or len(rest) > MAX_COMMAND:
            self._drop(connection)

    def _command(self, line: bytes) -> None:
        try:
            command = json.loads(line)
        except ValueError:
            return
        op = command.get("op") if isinstance(command, dict) else None
        if op == "terminate":
            self.terminate()
        elif op == "welcome":
            self._welcomed = True

    def _drop(self, connection: socket.socket) -> None:
        self._buffers.pop(connection, None)
        connection.close()


if __name__ == "__main__":
    main(sys.argv[1:])

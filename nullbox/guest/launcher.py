"""The first program of ours in an agent's VM: make the guest ready, run the agent, end with its code.

libkrun's init is PID 1 of the guest. It mounts /proc, /sys and /dev, brings `lo` up, and executes this file with one
argument, the configuration (`nullbox/cage/guestconfig.py` writes it). Before the agent's first instruction all
of its mounts and its network are there. If one of them cannot be had, the agent is not started: the console says why,
and the code is 125.

While the agent runs, the launcher listens on vsock port 9101 for the host. It says hello in one line, and takes
`{"op":"terminate"}`, which it passes on as SIGTERM, and `{"op":"welcome"}`, the answer to its hello.

Every import delays the agent: a module is several round trips of virtio-fs. Hence only modules that are built in or
small, `_socket` instead of `socket`, and no `json`, `subprocess` or `pathlib`.

Sources: mount(2), netdevice(7), the ioctls of `net/route.h`, vsock(7), virtiofs in Linux's Documentation/filesystems.
"""

from __future__ import annotations

import _socket
import binascii
import fcntl
import os
import select
import struct
import sys
import time
import zlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

CONTROL_PORT = 9101
CTX_PORT = 9100
FAILED = 125
CONFIG_VERSION = "2"
MAX_COMMAND = 4096
TERMINATE, WELCOME = b'{"op":"terminate"}', b'{"op":"welcome"}'

AGENT_FOLDER = "/agent"
LIBRARY = "/usr/lib/nullbox"
DATA = "/data"

# mount(2)
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32

# signal(7); Python ignores SIGPIPE and SIGXFSZ, and an ignored signal stays so across execve(2)
SIGKILL, SIGTERM = 9, 15
IGNORED_BY_PYTHON = (13, 25)

# linux/sockios.h, linux/if.h, linux/route.h
SIOCADDRT, SIOCGIFFLAGS, SIOCSIFFLAGS, SIOCSIFADDR, SIOCSIFNETMASK = 0x890B, 0x8913, 0x8914, 0x8916, 0x891C
IFF_UP = 1
RTF_UP, RTF_GATEWAY = 1, 2

TMPFS = (
    ("/tmp", MS_NOSUID | MS_NODEV, "mode=1777"),
    ("/run", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755"),
)
"""Where the agent may write on a root that is read-only: mount point, flags, options. /dev/shm is init's work."""

UMASK = 0o002
"""What the agent makes below /data, the group of that folder may change: the other agents that may write there."""

HEALTH_MODULE = "nullbox_health"
"""By its name: in a guest it is beside this file, and on the host, where the development driver uses us, nowhere."""

UNHEALTHY = 124
"""Exit code of a VM whose agent did not answer its health check."""

GRACE = 5.0
"""Seconds between SIGTERM and SIGKILL for an agent that failed its health check."""

WELCOME_SECONDS = 10.0
"""How long the end of an agent waits for the host to have heard of it."""


class Unready(Exception):
    """The guest cannot be made ready; the text says what was tried and why it failed."""


def main(arguments: list[str]) -> NoReturn:
    """Run the agent that the configuration names."""
    try:
        config = decode(arguments)
        prepare(config)
        health = load_health(config)
        os.umask(UMASK)
        supervisor = Supervisor(listen(), Agent(config), health)
    except Unready as error:
        print(f"nullbox: the agent cannot start: {error}", file=sys.stderr, flush=True)
        sys.exit(FAILED)
    sys.exit(supervisor.run())


def decode(arguments: list[str]) -> dict[str, Any]:
    """The configuration from the command line. Raises Unready."""
    try:
        [word] = arguments
        packed = binascii.a2b_base64(word.replace("-", "+").replace("_", "/") + "=" * (-len(word) % 4))
        lines = [line.split("\t") for line in zlib.decompress(packed).decode().split("\n")]
        found = {key: values for key, *values in lines}
        if found["v"] != [CONFIG_VERSION]:
            raise ValueError(f"it has version {found['v']}, and this launcher knows {CONFIG_VERSION}")
        config: dict[str, Any] = {"name": found["name"][0], "version": found["version"][0], "argv": found["argv"]}
        mounts = [values for key, *values in lines if key == "mount"]
        config["mounts"] = [(tag, path, mode == "ro") for tag, path, mode in mounts]
        if "net" in found:
            interface, address, prefix, gateway = found["net"]
            config["net"] = (interface, address, int(prefix), gateway)
        if "health" in found:
            port, path, interval, failures = found["health"]
            config["health"] = (int(port), path, int(interval), int(failures))
    except (ValueError, LookupError, zlib.error) as error:
        raise Unready(f"its configuration cannot be read: {error}") from error
    return config


def prepare(config: dict[str, Any]) -> None:
    """Mounts, host name, network: everything but the agent. Raises Unready."""
    for target, flags, options in TMPFS:
        mount("tmpfs", target, "tmpfs", flags, options)
    mount_shares(config["mounts"])
    attempt(f"set the host name to {config['name']}", lambda: _socket.sethostname(config["name"]))
    if "net" in config:
        interface, address, prefix, gateway = config["net"]
        configure_network(interface, address, prefix, gateway)
        with open("/run/resolv.conf", "w") as file:
            file.write(f"nameserver {gateway}\noptions timeout:2 attempts:2\n")


def attempt(what: str, action: Callable[[], Any]) -> Any:
    """Do something; a failure becomes Unready with its purpose."""
    try:
        return action()
    except OSError as error:
        raise Unready(f"cannot {what}: {error.strerror or error}") from error


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    """mount(2). Raises Unready."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    words = [text.encode() for text in (source, target, kind)]
    if libc.mount(*words, ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise Unready(f"cannot mount {source} ({kind}) on {target}: {os.strerror(number)}")


def mount_shares(shares: list[tuple[str, str, bool]]) -> None:
    """Mount each virtio-fs device at its path. Below /data the folders to mount on are made on a small tmpfs."""
    grants = [target for _, target, _ in shares if target.startswith(f"{DATA}/")]
    if grants:
        mount("tmpfs", DATA, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755,size=256k")
        for target in grants:
            attempt(f"make the mount point {target}", lambda p=target: os.makedirs(p, exist_ok=True))  # type: ignore[misc]  # noqa: PTH103
    for tag, target, read_only in shares:
        mount(tag, target, "virtiofs", MS_NOSUID | MS_NODEV | (MS_RDONLY if read_only else 0))
    if grants:
        mount("tmpfs", DATA, "tmpfs", MS_REMOUNT | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)


def configure_network(interface: str, address: str, prefix: int, gateway: str) -> None:
    """Address, netmask, up, default route. Raises Unready."""
    quiet_ipv6()
    mask = _socket.inet_ntoa(struct.pack("!I", (0xFFFFFFFF << (32 - prefix)) & 0xFFFFFFFF))
    control = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM)
    try:
        for what, request, argument in (
            (f"give {interface} the address {address}", SIOCSIFADDR, ifreq(interface, sockaddr(address))),
            (f"give {interface} the netmask {mask}", SIOCSIFNETMASK, ifreq(interface, sockaddr(mask))),
            (f"bring {interface} up", SIOCSIFFLAGS, ifreq(interface, struct.pack("h", IFF_UP))),
            (f"route everything to {gateway}", SIOCADDRT, rtentry(gateway)),
        ):
            attempt(what, lambda r=request, a=argument: fcntl.ioctl(control.fileno(), r, a))  # type: ignore[misc]
    finally:
        control.close()


def quiet_ipv6() -> None:
    """No IPv6 leaves an agent's link, so the guest need not try: each packet would be one more denial in the log."""
    try:
        with open("/proc/sys/net/ipv6/conf/all/disable_ipv6", "w") as file:
            file.write("1")
    except OSError:
        return  # a guest kernel without IPv6


def sockaddr(address: str) -> bytes:
    """struct sockaddr_in, without a port."""
    return struct.pack("=HH4s8x", _socket.AF_INET, 0, _socket.inet_aton(address))


def ifreq(interface: str, data: bytes) -> bytes:
    """struct ifreq: 16 bytes of name, 24 of union."""
    return struct.pack("16s24s", interface.encode(), data)


def rtentry(gateway: str) -> bytes:
    """struct rtentry of 64-bit Linux: a default route. Destination and mask are 0.0.0.0."""
    anywhere = sockaddr("0.0.0.0")  # noqa: S104 - a destination, nothing is bound
    head = struct.pack("L", 0) + anywhere + sockaddr(gateway) + anywhere
    return head + struct.pack("HhLPhPLLH6x", RTF_UP | RTF_GATEWAY, 0, 0, 0, 0, 0, 0, 0, 0)


def load_health(config: dict[str, Any]) -> Any:
    """The manifest's health check, or None (`nullbox_health.py`)."""
    if "health" not in config:
        return None
    sys.path.append(LIBRARY)
    health = __import__(HEALTH_MODULE)

    return health.Health(*config["health"])


def environment(config: dict[str, Any]) -> dict[str, str]:
    """The whole environment of the agent. Outside a VM the configuration may say otherwise in places."""
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
        **config.get("environment", {}),
    }


class Agent:
    """The agent's process: in its folder, in a session of its own, with nothing of the launcher's open."""

    def __init__(self, config: dict[str, Any]) -> None:
        """Start it. Raises Unready."""
        command = config["argv"]
        attempt(f"enter {AGENT_FOLDER}", lambda: os.chdir(AGENT_FOLDER))
        options: dict[str, Any] = {
            "file_actions": [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)],
            "setsid": True,
            "setsigdef": IGNORED_BY_PYTHON,
        }
        start = lambda: os.posix_spawn(command[0], command, environment(config), **options)  # noqa: E731
        self.pid: int = attempt(f"run {command[0]}", start)
        self.ending = os.pidfd_open(self.pid)
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit status, or minus the signal that killed it; None while it runs."""
        if self._code is None and select.select([self.ending], [], [], 0)[0]:
            self._code = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._code

    def terminate(self, signal: int = SIGTERM) -> None:
        """Send it a signal, unless it is gone."""
        if self.poll() is None:
            os.kill(self.pid, signal)


def listen() -> _socket.socket:
    """The listener for the host. Raises Unready."""
    listener = _socket.socket(_socket.AF_VSOCK, _socket.SOCK_STREAM)
    attempt(f"bind vsock port {CONTROL_PORT}", lambda: listener.bind((_socket.VMADDR_CID_ANY, CONTROL_PORT)))
    listener.listen(1)
    listener.setblocking(False)
    return listener


class Supervisor:
    """Waits for the agent's end, and serves the host meanwhile: one connection, the newest."""

    def __init__(self, listener: _socket.socket, agent: Agent, health: Any = None) -> None:
        self._listener = listener
        self._agent = agent
        self._health = health
        self._host: _socket.socket | None = None
        self._rest = b""
        self._welcomed = False

    def run(self) -> int:
        """Until the agent ends: its exit status, or 128 and the number of the signal that killed it, or UNHEALTHY.

        An agent may end before the host has heard of it. A VM that ends unheard looks like one whose guest crashed
        while booting, so the launcher stays until it was welcomed, if the host does so in time.
        """
        failed: str | None = None
        code: int | None = None
        while failed is None and (code := self._agent.poll()) is None:
            self._serve([self._agent.ending], self._health.left() if self._health else None)
            failed = self._health.step() if self._health else None
        if code is None:
            code = self._end_unhealthy(str(failed))
        until = time.monotonic() + WELCOME_SECONDS
        while not self._welcomed and (left := until - time.monotonic()) > 0:
            self._serve([], left)
        return code if code >= 0 else 128 - code

    def _end_unhealthy(self, why: str) -> int:
        """SIGTERM, and SIGKILL when the grace is over. Whatever the agent makes of it, it has failed."""
        print(f"nullbox: the agent is not healthy and is ended: {why}", file=sys.stderr, flush=True)
        self._agent.terminate()
        until = time.monotonic() + GRACE
        while self._agent.poll() is None and (left := until - time.monotonic()) > 0:
            self._serve([self._agent.ending], left)
        self._agent.terminate(SIGKILL)
        return UNHEALTHY

    def hello(self) -> bytes:
        """The first line of every connection."""
        with open("/proc/sys/kernel/random/boot_id") as file:
            boot_id = file.read().strip()
        kernel = os.uname().release
        return f'{{"kernel":"{kernel}","boot_id":"{boot_id}","pid":{self._agent.pid}}}\n'.encode()

    def _serve(self, ending: list[int], timeout: float | None) -> None:
        """Wait for something to happen, at most that many seconds, and deal with it."""
        sources: list[Any] = [*ending, self._listener, *([self._host] if self._host else [])]
        ready, _, _ = select.select(sources, [], [], timeout)
        if self._host in ready:
            self._receive()
        if self._listener in ready:
            self._accept()

    def _accept(self) -> None:
        try:
            descriptor, _ = self._listener._accept()  # type: ignore[attr-defined]
        except OSError:
            return
        self._drop()
        self._host = _socket.socket(fileno=descriptor)
        self._host.setblocking(False)
        try:
            self._host.send(self.hello())
        except OSError:
            self._drop()

    def _receive(self) -> None:
        assert self._host is not None
        try:
            data = self._host.recv(4096)
        except BlockingIOError:
            return  # woken for nothing: vsock does that for its credit updates
        except OSError:
            data = b""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            if line == TERMINATE:
                self._agent.terminate()
            elif line == WELCOME:
                self._welcomed = True
        if not data or len(self._rest) > MAX_COMMAND:
            self._drop()

    def _drop(self) -> None:
        if self._host is not None:
            self._host.close()
        self._host, self._rest = None, b""


if __name__ == "__main__":
    main(sys.argv[1:])

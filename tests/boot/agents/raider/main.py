"""One hostile guest: it is root in its VM, and attacks what lies around it, one attempt after the other.

Every attack returns a word or a number that says what came of it; the test knows which are right. An attack that raises
an OSError reports the error's name. The verdicts go to ctxgraph under `raider.verdicts`, and each one to the log.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable

from nullbox_agent import ctx, log

READ, WRITE = "/data/raider-read", "/data/raider-write"
HOST = 2
CTX_PORT = 9100
HOST_FILES = ("/system/config/nulld.toml", "/var/lib/nullbox/users.json", "/run/nullbox/exits")
"""Paths that the host has and a guest has not."""
MS_REMOUNT, MS_BIND = 32, 4096
AT_ONCE = 500
"""Connections under way at the same time."""
libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str, kind: str, flags: int = 0) -> None:
    if libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None) != 0:
        raise OSError(ctypes.get_errno(), target)


def write(path: str, data: bytes = b"x") -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)


def seen(paths: list[str]) -> str:
    found = [path for path in paths if os.path.lexists(path)]
    return "seen: " + ", ".join(found) if found else "nothing"


# --- shares --------------------------------------------------------------------------------------------------


def traversal() -> str:
    up = "/.." * 12
    return seen([place + up + path for place in (WRITE, READ, "/agent") for path in HOST_FILES])


def links_out() -> str:
    readable = []
    for number, path in enumerate((*HOST_FILES, "/proc/1/root/system", "../" * 12 + "system")):
        link = f"{WRITE}/link{number}"
        os.symlink(path, link)
        if os.path.exists(link):
            readable.append(path)
    return "read: " + ", ".join(readable) if readable else "nothing"


def hard_links() -> str:
    outcomes = set()
    for source in ("/agent/main.py", "/usr/lib/nullbox/launcher.py"):
        try:
            os.link(source, f"{WRITE}/hard")
            outcomes.add("linked")
        except OSError as error:
            outcomes.add(errno.errorcode[error.errno or 0])
    return ",".join(sorted(outcomes))


def rename_race() -> str:
    """A folder and a link to a folder of the host take turns under one name while it is looked up."""
    os.mkdir(f"{WRITE}/inside")
    os.symlink("/system/config", f"{WRITE}/outside")
    over = threading.Event()

    def turn() -> None:
        while not over.is_set():
            for name in ("inside", "outside"):
                with contextlib.suppress(OSError):
                    os.rename(f"{WRITE}/{name}", f"{WRITE}/turning")
                    os.rename(f"{WRITE}/turning", f"{WRITE}/{name}")

    turner = threading.Thread(target=turn)
    turner.start()
    hits = 0
    for _ in range(300):
        with contextlib.suppress(OSError):
            os.close(os.open(f"{WRITE}/turning/nulld.toml", os.O_RDONLY))
            hits += 1
    over.set()
    turner.join()
    return "got out" if hits else "nothing"


def magic_names() -> str:
    """Names that mean something elsewhere are names here, and come back as they were given."""
    names = ["...", "%2e%2e", "..\\..\\x", "con", "a\nb", "\x1b[2J", "é", "x" * 255, ".hidden", "-rf", "*", "~"]
    os.mkdir(f"{WRITE}/names")
    for name in names:
        write(f"{WRITE}/names/{name}")
    if sorted(os.listdir(f"{WRITE}/names")) != sorted(names):
        return "changed"
    write(f"{WRITE}/names/" + "x" * 256)
    return "made a name that is too long"


def device_nodes() -> str:
    """Devices that exist, and 0:0, which anybody may make on some file systems and which no driver ever has."""
    got = []
    for number, (kind, device) in enumerate(
        ((stat.S_IFCHR, os.makedev(1, 1)), (stat.S_IFBLK, os.makedev(254, 0)), (stat.S_IFCHR, 0))
    ):
        path = f"{WRITE}/device{number}"
        with contextlib.suppress(OSError):
            os.mknod(path, kind | 0o666, device)
            if device:
                got.append(f"made {device:#x}")
            os.close(os.open(path, os.O_RDONLY))
            got.append(f"opened {device:#x}")
    return ", ".join(got) or "nothing"


def fifo() -> str:
    """A FIFO is the guest's own; the host's server never waits in it."""
    os.mkfifo(f"{WRITE}/fifo")
    reader = os.open(f"{WRITE}/fifo", os.O_RDONLY | os.O_NONBLOCK)
    write(f"{WRITE}/after-the-fifo")
    os.close(reader)
    return "server answers"


def setuid_file() -> str:
    path = f"{WRITE}/setuid"
    write(path)
    os.chmod(path, 0o4755)
    flags = os.statvfs(WRITE).f_flag
    return "nosuid" if flags & os.ST_NOSUID else "setuid counts"


def change_owner() -> str:
    write(f"{WRITE}/owned")
    os.chown(f"{WRITE}/owned", 0, 0)
    os.chown(f"{WRITE}/owned", 12345, 12345)
    return "changed"


def write_to_read_only(path: str) -> Callable[[], str]:
    def attack() -> str:
        write(f"{path}/file-of-mine")
        return "written"

    return attack


def write_after_remount() -> str:
    """Root of the guest takes the guest's own read-only flag away. The host's stays."""
    mount("none", READ, "", MS_REMOUNT)
    write(f"{READ}/file-of-mine")
    return "written"


def write_after_second_mount(tag: str) -> Callable[[], str]:
    def attack() -> str:
        place = f"/tmp/again-{tag.strip('/').replace('/', '-')}"
        os.mkdir(place)
        mount(tag, place, "virtiofs")
        write(f"{place}/file-of-mine")
        return "written"

    return attack


def other_tags() -> str:
    got = []
    os.mkdir("/tmp/tags")
    for tag in ("data", "data2", "data9", "agent1", "host", "/", "root", "pulse", "/dev/root2"):
        with contextlib.suppress(OSError):
            mount(tag, "/tmp/tags", "virtiofs")
            got.append(tag)
    return "mounted: " + ", ".join(got) if got else "nothing"


def other_agents() -> str:
    entries = set(os.listdir("/data"))
    return "only its own" if entries == {"raider-read", "raider-write"} else f"{sorted(entries)}"


def fill_grant() -> str:
    """Returns how many MiB went in before the volume was full."""
    block = bytes(1 << 20)
    written = 0
    path = f"{WRITE}/big"
    try:
        with open(path, "wb", buffering=0) as file:
            for _ in range(256):
                written += file.write(block)
        return "not full after 256 MiB"
    except OSError as error:
        return (
            f"{errno.errorcode[error.errno or 0]} before 33 MiB" if written < 33 << 20 else f"{written} bytes went in"
        )
    finally:
        os.unlink(path)


# --- the machine ---------------------------------------------------------------------------------------------


def flood_log() -> str:
    line = b"\x1b]0;owned\x07\x1b[2J" + b"y" * 1000 + b"\n"
    for _ in range(400):
        os.write(1, line)
    return "lived"


def rank(score: int) -> None:
    """How readily the guest's kernel ends this process when memory runs out: 1000 first, -1000 never."""
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(score))


def fork_bomb() -> str:
    """As many processes as there is memory for, up to a bound; the guest's kernel may choose to end some of them."""
    children = []
    with contextlib.suppress(OSError, MemoryError):
        for _ in range(60):
            child = os.fork()
            if child == 0:
                rank(1000)
                time.sleep(600)
                os._exit(0)
            children.append(child)
    for child in children:
        os.kill(child, 9)
    for child in children:
        os.waitpid(child, 0)
    return "lived"


def memory_bomb() -> str:
    """More than all of the VM's memory, in a child that the guest's kernel may choose to end."""
    child = os.fork()
    if child == 0:
        rank(1000)
        hoard = []
        try:
            while True:
                hoard.append(b"x" * (4 << 20))
        except MemoryError:
            os._exit(3)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return "ended inside" if code in (3, -9) else f"code {code}"


def host_devices() -> str:
    return seen(["/dev/kvm", "/dev/vda", "/dev/virtio-ports", "/dev/ttyS0", "/dev/watchdog"])


def host_sockets() -> str:
    answered = []
    for path in ("/run/nulld.sock", "/run/nullbox/ctx/host/gateway.sock", "/ctx/sock", "/room/control.sock"):
        with socket.socket(socket.AF_UNIX) as connection, contextlib.suppress(OSError):
            connection.connect(path)
            answered.append(path)
    return "reached: " + ", ".join(answered) if answered else "nothing"


# --- vsock and ctxgraph ----------------------------------------------------------------------------------------


def vsock_ports() -> str:
    """Ports of the host that accept a connection, of a sample."""
    return answering(sorted({*range(1, 129), *range(1024, 65536, 1021), 9099, CTX_PORT, 9101, 9102}))


def answering(ports: list[int]) -> str:
    answered = [
        port
        for at in range(0, len(ports), AT_ONCE)
        for _, port in connects([(HOST, port) for port in ports[at : at + AT_ONCE]])
    ]
    return ",".join(map(str, sorted(answered))) or "none"


def sweep() -> str:
    """The same of all ports that there are in 16 bits."""
    return answering(list(range(1, 65536)))


def connects(places: list[tuple[int, int]], seconds: float = 3.0) -> list[tuple[int, int]]:
    """Those that accept, of these pairs of machine and port, all asked at once. Silence is no answer."""
    asked: dict[int, tuple[socket.socket, tuple[int, int]]] = {}
    waiter = select.poll()
    answered = []
    for place in places:
        connection = socket.socket(socket.AF_VSOCK)
        connection.setblocking(False)
        try:
            connection.connect(place)
            answered.append(place)
        except BlockingIOError:
            asked[connection.fileno()] = (connection, place)
            waiter.register(connection, select.POLLOUT)
        except OSError:
            connection.close()
    until = time.monotonic() + seconds
    while asked and (left := until - time.monotonic()) > 0:
        for descriptor, _ in waiter.poll(left * 1000):
            waiter.unregister(descriptor)
            connection, place = asked.pop(descriptor)
            if connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                answered.append(place)
            connection.close()
    for connection, _ in asked.values():
        connection.close()
    return answered


def vsock_neighbours() -> str:
    """Other machines on the vsock: the hypervisor, and numbers that a neighbour might have."""
    found = connects([(cid, port) for cid in (0, 4, 5) for port in (CTX_PORT, 9101)])
    return ",".join(f"{cid}:{port}" for cid, port in found) or "none"


def malformed_flood() -> str:
    """Nonsense in many connections at once; the agent's own requests are answered all the while."""
    noise = (
        b"{\n",
        b"[]\n",
        b'{"jsonrpc":"2.0","id":1,"method":"write","params":{"key":"pulse.counter","value":1}}\n',
        b"\xff\xfe\x00\n",
        b"[" * 5000 + b"\n",
        b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b"}\n",
        b"x" * 300_000,
    )
    held = []
    for number in range(40):
        connection = socket.socket(socket.AF_VSOCK)
        connection.settimeout(5)
        with contextlib.suppress(OSError):
            connection.connect((HOST, CTX_PORT))
            connection.sendall(noise[number % len(noise)])
            held.append(connection)
    for connection in held:
        connection.close()
    ctx.write("raider.after-flood", True)
    return "answered"


def write_elsewhere() -> str:
    try:
        ctx.write("pulse.counter", {"n": 1})
    except Exception as error:
        return str(getattr(error, "code", error))
    return "written"


ATTACKS: dict[str, Callable[[], str]] = {
    "path traversal": traversal,
    "symbolic links": links_out,
    "hard links": hard_links,
    "rename race": rename_race,
    "magic names": magic_names,
    "device nodes": device_nodes,
    "fifo": fifo,
    "setuid file": setuid_file,
    "change of owner": change_owner,
    "write to the root": write_to_read_only("/etc"),
    "write to the agent's folder": write_to_read_only("/agent"),
    "write to a read-only grant": write_to_read_only(READ),
    "write after a remount": write_after_remount,
    "write after a second mount of the grant": write_after_second_mount("data0"),
    "write after a second mount of the root": write_after_second_mount("/dev/root"),
    "other tags": other_tags,
    "other agents' folders": other_agents,
    "filling the grant": fill_grant,
    "host's devices": host_devices,
    "host's sockets": host_sockets,
    "vsock ports": vsock_ports,
    "vsock neighbours": vsock_neighbours,
    "malformed flood": malformed_flood,
    "another agent's keys": write_elsewhere,
    "log flood": flood_log,
    "fork bomb": fork_bomb,
    "memory bomb": memory_bomb,
}


SWEEP: dict[str, Callable[[], str]] = {"every vsock port": sweep}
"""What takes too long to be tried every time."""


def main() -> None:
    rank(-1000)  # whatever runs out, the verdicts are still to be written
    verdicts = {}
    for name, attack in (SWEEP if sys.argv[1:] == ["sweep"] else ATTACKS).items():
        begun = time.monotonic()
        try:
            verdicts[name] = attack()
        except OSError as error:
            verdicts[name] = errno.errorcode.get(error.errno or 0, str(error))
        except Exception as error:
            verdicts[name] = f"{type(error).__name__}: {error}"
        log(f"{name}: {verdicts[name]} ({time.monotonic() - begun:.1f} s)")
    ctx.write(f"{os.environ['AGENT_NAME']}.verdicts", verdicts)


if __name__ == "__main__":
    main()

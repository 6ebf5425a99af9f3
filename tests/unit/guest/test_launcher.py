"""The launcher: its configuration, its packed structures, its network setup in a namespace, and serving the host.

The namespace is made for the test and has no way out: a `lo` and a pair of cards that lead to each other.
"""

from __future__ import annotations

import _socket
import ast
import base64
import ctypes
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage import control, guestconfig, plan
from nullbox.guest import launcher

REPOSITORY = Path(__file__).parents[3]
CONFIG = {"name": "a", "version": "1.0", "argv": ["/agent/a"], "mounts": [("agent", "/agent", True)]}


def test_host_and_guest_agree_on_the_configuration() -> None:
    assert launcher.decode([guestconfig.encode(CONFIG)]) == CONFIG
    linked = {**CONFIG, "net": ("eth0", "10.90.0.6", 30, "10.90.0.5")}
    assert launcher.decode([guestconfig.encode(linked)]) == linked


def test_a_word_with_a_line_break_is_refused_on_the_host() -> None:
    with pytest.raises(ValueError, match="no tab"):
        guestconfig.encode({**CONFIG, "argv": ["/agent/a", "x\ny"]})


words = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=20)


@given(st.lists(words, min_size=1, max_size=4), st.lists(st.tuples(words, words, st.booleans()), max_size=4))
def test_any_configuration_survives_the_command_line(argv: list[str], mounts: list[tuple[str, str, bool]]) -> None:
    config = {"name": "a", "version": "1", "argv": argv, "mounts": mounts}
    word = guestconfig.encode(config)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", word)
    assert launcher.decode([word]) == config


def test_host_and_guest_agree_on_ports_and_places() -> None:
    assert launcher.CONTROL_PORT == plan.CONTROL_PORT
    assert launcher.CTX_PORT == plan.CTX_PORT
    assert launcher.AGENT_FOLDER == plan.AGENT_MOUNT
    assert launcher.LIBRARY == plan.GUEST_LIBRARY
    assert control.TERMINATE == launcher.TERMINATE + b"\n"
    assert control.WELCOME == launcher.WELCOME + b"\n"


OLD = base64.urlsafe_b64encode(zlib.compress(b"v\t1\nname\ta")).decode().rstrip("=")


@pytest.mark.parametrize("arguments", [[], ["x"], ["x", "y"], [""], ["eJwDAAAAAAE"], [OLD]])
def test_a_broken_configuration_is_told(arguments: list[str]) -> None:
    with pytest.raises(launcher.Unready, match="configuration"):
        launcher.decode(arguments)


@given(st.text(max_size=50))
def test_any_word_is_a_configuration_or_unready(word: str) -> None:
    with pytest.raises(launcher.Unready):
        launcher.decode([word])


def test_structures_have_the_kernels_sizes() -> None:
    assert len(launcher.sockaddr("10.90.0.1")) == 16
    assert len(launcher.ifreq("eth0", launcher.sockaddr("10.90.0.1"))) == 40
    assert len(launcher.rtentry("10.90.0.1")) == 120


def test_the_agents_environment_is_the_contracts() -> None:
    environ = launcher.environment(CONFIG)
    assert environ["AGENT_NAME"] == "a"
    assert environ["AGENT_VERSION"] == "1.0"
    assert environ["CTXGRAPH_PORT"] == "9100"


NETWORK_PROBE = """
import subprocess
from nullbox.guest import launcher
launcher.configure_network("card0", "10.90.0.6", 30, "10.90.0.5")
print(open("/proc/net/route").read())
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
    probe.connect(("192.0.2.1", 9))
    print("source", probe.getsockname()[0])
try: launcher.configure_network("none0", "10.90.0.6", 30, "10.90.0.5")
except launcher.Unready as error: print("unready:", error)
"""


@pytest.mark.net
def test_the_network_is_configured_in_a_namespace() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root for a network namespace")
    made = "ip link add card0 type veth peer name peer0 && ip link set peer0 up && exec "
    ran = subprocess.run(
        ["unshare", "--net", "sh", "-c", f'{made} "$0" -c "$1"', sys.executable, NETWORK_PROBE],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    if "Operation not permitted" in ran.stderr or "Unknown device type" in ran.stderr:
        pytest.skip(f"no network namespace with a pair of cards here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr
    routes = [line.split() for line in ran.stdout.splitlines() if line.startswith("card0")]
    gateway = "05005A0A"
    assert any(route[1] == "00000000" and route[2] == gateway for route in routes), ran.stdout
    assert any(route[1] == "04005A0A" and route[7] == "FCFFFFFF" for route in routes), ran.stdout
    assert "source 10.90.0.6" in ran.stdout
    assert "unready: cannot give none0 the address 10.90.0.6: No such device" in ran.stdout


SUPERVISED = """
import _socket, sys
from nullbox.guest import launcher
path, folder, welcome, *command = sys.argv[1:]
launcher.AGENT_FOLDER, launcher.WELCOME_SECONDS = folder, float(welcome)
listener = _socket.socket(_socket.AF_UNIX)
listener.bind(path)
listener.listen(1)
listener.setblocking(False)
agent = launcher.Agent({"name": "a", "version": "1", "argv": command})
print("listening", flush=True)
sys.exit(launcher.Supervisor(listener, agent).run())
"""


class Guest:
    """A launcher that listens on a Unix socket in place of vsock. welcome: seconds that it waits for its host."""

    def __init__(self, path: Path, program: str, welcome: float = launcher.WELCOME_SECONDS) -> None:
        self.path = path
        places = [str(path), str(path.parent), str(welcome)]
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISED, *places, sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.path))  # waits for room in the backlog, which a timeout would not let it
        connection.settimeout(20)
        return connection

    def code(self) -> int:
        return self.process.wait(20)


@pytest.mark.parametrize(
    ("program", "code"), [("", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)]
)
def test_the_launcher_ends_with_the_agents_code(tmp_path: Path, program: str, code: int) -> None:
    guest = Guest(tmp_path / "s", program)
    assert guest.line().strip() == "listening"
    with guest.connect() as connection:
        assert connection.makefile("rb").readline().startswith(b"{"), "an agent's end must not outrun its hello"
        connection.sendall(control.WELCOME)
        assert guest.code() == code


def test_an_unheard_launcher_waits_for_its_host_but_not_for_ever(tmp_path: Path) -> None:
    begun = time.monotonic()
    guest = Guest(tmp_path / "s", "raise SystemExit(3)", welcome=1.0)
    assert guest.code() == 3
    assert time.monotonic() - begun >= 1.0


SAYS_WHEN_TERMINATED = (
    "import signal, sys, time\n"
    "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
    "print('ready', flush=True)\n"
    "while True: time.sleep(60)\n"
)


@pytest.fixture
def guest(tmp_path: Path) -> Any:
    made = Guest(tmp_path / "s", SAYS_WHEN_TERMINATED)
    assert {made.line().strip(), made.line().strip()} == {"listening", "ready"}
    yield made
    if made.process.poll() is None:
        made.process.terminate()
    made.process.wait(20)
    assert made.process.stdout is not None
    made.process.stdout.close()


def test_hello_and_terminate(guest: Guest) -> None:
    with guest.connect() as connection:
        hello = control.parse_hello(connection.makefile("rb").readline().rstrip(b"\n"))
        assert hello.kernel == os.uname().release
        assert hello.boot_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        connection.sendall(control.WELCOME + control.TERMINATE)
        assert guest.code() == 7


def test_nonsense_and_floods_cost_their_own_connection_only(guest: Guest) -> None:
    connections = [guest.connect() for _ in range(6)]
    for connection in connections:
        threading.Thread(target=_flood, args=(connection,), daemon=True).start()
    with guest.connect() as connection:
        assert connection.makefile("rb").readline().startswith(b"{")
        connection.sendall(b'{"op": "dance"}\n[1]\nnull\n\xff\n')
        connection.sendall(control.WELCOME + control.TERMINATE)
        assert guest.code() == 7
    for connection in connections:
        connection.close()


def _flood(connection: socket.socket) -> None:
    try:
        for _ in range(50):
            connection.sendall(b"x" * 4096)
    except OSError:
        pass


def test_an_agent_that_cannot_be_run_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launcher, "AGENT_FOLDER", str(tmp_path))
    with pytest.raises(launcher.Unready, match="cannot run /nonexistent: No such file"):
        launcher.Agent({**CONFIG, "argv": ["/nonexistent"]})
    with pytest.raises(launcher.Unready, match=r"cannot run .*: Permission denied"):
        launcher.Agent({**CONFIG, "argv": [str(tmp_path)]})


def test_the_agent_gets_a_clean_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(launcher, "AGENT_FOLDER", str(tmp_path))
    program = (
        "import os\n"
        "seen = (os.getcwd(), os.getsid(0) == os.getpid(), os.readlink('/proc/self/fd/0'), os.environ['AGENT_NAME'])\n"
        "open('seen', 'w').write(repr(seen))\n"
    )
    agent = launcher.Agent({**CONFIG, "argv": [sys.executable, "-c", program]})
    assert select.select([agent.ending], [], [], 20)[0]
    assert agent.poll() == 0
    assert ast.literal_eval((tmp_path / "seen").read_text()) == (str(tmp_path), True, "/dev/null", "a")
    agent.terminate()  # gone: nothing happens


def test_a_mount_that_fails_says_which(tmp_path: Path) -> None:
    with pytest.raises(launcher.Unready, match=r"cannot mount none \(nosuchfs\) on "):
        launcher.mount("none", str(tmp_path), "nosuchfs", 0)


def test_ctypes_sees_the_same_structures() -> None:
    """An independent description of struct rtentry, from its declaration in C."""

    class SockAddr(ctypes.Structure):
        _fields_ = [("family", ctypes.c_ushort), ("port", ctypes.c_ushort), ("address", ctypes.c_ubyte * 12)]

    class RtEntry(ctypes.Structure):
        _fields_ = [
            ("pad1", ctypes.c_ulong),
            ("destination", SockAddr),
            ("gateway", SockAddr),
            ("mask", SockAddr),
            ("flags", ctypes.c_ushort),
            ("pad2", ctypes.c_short),
            ("pad3", ctypes.c_ulong),
            ("pad4", ctypes.c_void_p),
            ("metric", ctypes.c_short),
            ("device", ctypes.c_char_p),
            ("mtu", ctypes.c_ulong),
            ("window", ctypes.c_ulong),
            ("irtt", ctypes.c_ushort),
        ]

    entry = RtEntry.from_buffer_copy(launcher.rtentry("10.90.0.5"))
    assert bytes(entry.gateway.address)[:4] == bytes([10, 90, 0, 5])
    assert (entry.flags, entry.destination.family, entry.mask.family) == (3, socket.AF_INET, socket.AF_INET)
    assert entry.device is None


def test_the_hosts_client_and_the_launcher_understand_each_other(guest: Guest) -> None:
    client = control.ControlClient(guest.path)
    deadline = time.monotonic() + 20
    while client.hello is None and time.monotonic() < deadline:
        client.step()
        select.select([client] if client.fileno() >= 0 else [], [], [], 0.05)
    assert client.hello is not None
    client.terminate()
    begun = time.monotonic()
    assert guest.code() == 7
    assert time.monotonic() - begun < launcher.WELCOME_SECONDS / 2, "the launcher waited for a welcome that it had"
    client.close()


def test_a_wakeup_without_data_is_not_the_end_of_the_connection() -> None:
    """vsock wakes readers for credit updates, too."""
    ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_STREAM)
    ours.setblocking(False)
    listener = _socket.socket(_socket.AF_UNIX)
    supervisor = launcher.Supervisor(listener, cast("launcher.Agent", None))
    supervisor._host = ours
    supervisor._receive()
    assert supervisor._host is ours
    theirs.send(launcher.WELCOME + b"\n")
    supervisor._receive()
    assert supervisor._welcomed
    theirs.close()
    supervisor._receive()
    assert supervisor._host is None
    listener.close()

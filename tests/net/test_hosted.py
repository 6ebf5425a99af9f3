"""`nullbox up --driver process`: whole instances on this host, as people run them, and what is left of them after.

The agents here are processes in sandboxes; what they see and may not do, they say themselves, in their logs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import operators_day
import pytest
from hosted_system import LONG, NULLBOX, Up, eventually
from operator_view import Machine

from nullbox.cage.users import FIRST
from nullbox.host.hosted import Hosted, cgroup_mount
from nullbox.host.run import RunFolder

pytestmark = [
    pytest.mark.skipif(
        cgroup_mount(Path("/proc/self/mountinfo").read_text()) is None, reason="needs cgroup v2 (mount -t cgroup2)"
    ),
]

HERE = Path(__file__).resolve().parent


def make_agent(folder: Path, name: str, code: str, manifest: str = "") -> None:
    home = folder / name
    home.mkdir(parents=True)
    (home / "main.py").write_text(code)
    (home / "AGENT.toml").write_text(f'[agent]\nname = "{name}"\nruntime = "python"\nrestart = "always"\n{manifest}')


WITNESS = """
import ctypes, json, os, socket, threading, time
from pathlib import Path
from nullbox_agent import ctx

def tried(action):
    try:
        action()
        return "allowed"
    except OSError as error:
        return type(error).__name__ if error.errno is None else os.strerror(error.errno)

def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) < 0:
        raise OSError(ctypes.get_errno(), name)

status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
said = {
    "uid": os.getuid(),
    "groups": os.getgroups(),
    "capabilities": [status[name].strip() for name in ("CapEff", "CapPrm", "CapInh", "CapBnd")],
    "no_new_privs": status["NoNewPrivs"].strip(),
    "root": sorted(os.listdir("/")),
    "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    "devices": sorted(os.listdir("/dev")),
    "links": sorted(name for _, name in socket.if_nameindex()),
    "environment": {name: os.environ.get(name) for name in ("AGENT_NAME", "AGENT_VERSION", "CTXGRAPH_PORT")},
    "resolver": Path("/etc/resolv.conf").read_text().split()[1],
    "write root": tried(lambda: Path("/x").write_text("x")),
    "write usr": tried(lambda: Path("/usr/x").write_text("x")),
    "write own folder": tried(lambda: Path("/agent/x").write_text("x")),
    "write tmp": tried(lambda: Path("/tmp/x").write_text("x")),
    "write grant": tried(lambda: Path("/data/out/x").write_text("x")),
    "write read grant": tried(lambda: Path("/data/in/x").write_text("x")),
    "read grant": Path("/data/in/fact").read_text(),
    "set uid": tried(lambda: os.setuid(0)),
    "mount": tried(lambda: os.chroot("/tmp")),
    "vsock": tried(lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)),
    "kernel crypto socket": tried(lambda: socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET)),
    "namespace": tried(lambda: call("unshare", 0x10000000)),
    "namespace by clone": tried(lambda: call("syscall", 56, 0x10000000 | 17, 0, 0, 0, 0)),
    "ptrace": tried(lambda: call("ptrace", 0, 0, 0, 0)),
    "keyring": tried(lambda: call("syscall", 250, 0, -3, 0)),
    "fork": tried(lambda: os.waitpid(os.posix_spawn("/bin/true", ["true"], {}), 0)),
    "thread": tried(lambda: threading.Thread(target=int).start()),
    "seccomp": status["Seccomp"].strip(),
    "raw socket": tried(lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW)),
    "ask for a name": tried(lambda: socket.getaddrinfo("forbidden.example", 443)),
    "reach out": tried(lambda: socket.create_connection(("45.33.32.10", 443), 2)),
}
print("WITNESS " + json.dumps(said), flush=True)
ctx.write("witness.seen", said)
while True:
    time.sleep(1)
"""
WITNESS_GRANTS = """
[capabilities.filesystem]
read = ["/data/in"]
write = ["/data/out"]
[capabilities.ctxgraph]
write = ["witness."]
"""

BRIEF = """
import sys, time
print("begun", flush=True)
time.sleep(3600 if len(sys.argv) < 2 else 0)
sys.exit(3)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nbup") as made:
        yield Path(made)


@pytest.fixture
def up(folder: Path) -> Iterator[Up]:
    agents = folder / "agents"
    make_agent(agents, "witness", WITNESS, WITNESS_GRANTS)
    make_agent(agents, "sleeper", BRIEF)
    data = folder / "state" / "var" / "lib" / "nullbox" / "data" / "in"
    data.mkdir(parents=True)
    (data / "fact").write_text("tides")
    up = Up(folder, agents)
    try:
        yield up.ready()
    except BaseException:
        print(up.trouble())
        raise
    finally:
        up.close()


def namespaces_of(pid: int) -> dict[str, str]:
    folder = Path(f"/proc/{pid}/ns")
    return {path.name: os.readlink(path) for path in folder.iterdir()}


def in_use() -> set[str]:
    """All namespaces that some process is in."""
    found: set[str] = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            found |= set(namespaces_of(int(folder.name)).values())
        except OSError:
            continue
    return found


def traces(state: Path) -> list[str]:
    """What the host shows of an instance: mounts, sockets, cgroups, devices."""
    group = Hosted(state, "process", state).group
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    sockets = Path("/proc/net/unix").read_text().splitlines()
    root = cgroup_mount("\n".join(mounts))
    assert root is not None
    return [
        *(line for line in (*mounts, *sockets) if str(state) in line),
        *(str(path) for path in root.glob(f"{group}*")),
        *(path.name for path in Path("/sys/class/net").iterdir() if path.name.startswith("nb")),
        *(path.name for path in (state / "run").rglob("*") if (state / "run").exists()),
    ]


def children_of(first: int) -> set[int]:
    """Everything in the PID namespace of that process."""
    mine = namespaces_of(first)["pid"]
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(folder / "ns" / "pid") == mine:
                found.add(int(folder.name))
        except OSError:
            continue
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "sigterm"])
def test_an_operators_day_and_nothing_left_of_it(up: Up, number: int) -> None:
    state = up.hosted.state
    before = namespaces_of(os.getpid())
    own = namespaces_of(up.first)
    for kind in ("pid", "mnt", "net", "ipc", "cgroup"):
        assert own[kind] != before[kind], kind
    sandboxes = {space for pid in children_of(up.first) for space in namespaces_of(pid).values()}
    own_spaces = (set(own.values()) | sandboxes) - set(before.values())
    assert traces(state)

    status = up.nulld.status()
    assert status["driver"] == "process"
    assert "NONE" in status["isolation"]
    assert "no isolation boundary" in up.ok("status")
    assert "NO isolation boundary" in up.output.read_text()
    check_witness(up)

    assert up.ok("agent", "pause", "sleeper") == "sleeper: paused\n"
    assert up.nullctl("agent", "pause", "sleeper").returncode == 6
    assert up.ok("agent", "resume", "sleeper") == "sleeper: running\n"
    first = up.nulld.agent_inspect("sleeper")["vm"]["vmm"]["pid"]
    assert up.ok("agent", "restart", "sleeper").startswith("sleeper: ")
    up.nulld.agent_wait("sleeper")
    second = up.nulld.agent_inspect("sleeper")["vm"]["vmm"]["pid"]
    assert first != second
    assert up.ok("agent", "stop", "sleeper") == "sleeper: stopped\n"
    assert "begun" in up.log("sleeper")

    code = up.end(number)
    assert code == 0, up.trouble()
    assert up.output.read_text().endswith("stopping\nstopped\n")
    assert traces(state) == []
    assert not own_spaces & in_use()
    assert namespaces_of(os.getpid()) == before
    assert sorted(path.name for path in state.iterdir()) == ["lock", "var"]
    assert "sleeper" in (state / "var" / "log" / "nullbox" / "events.jsonl").read_text()


def check_witness(up: Up) -> None:
    """What the agent found in its sandbox."""
    line = eventually(
        lambda: next((each for each in up.log("witness").splitlines() if "WITNESS" in each), None), "no witness"
    )
    said = json.loads(line.partition("WITNESS ")[2])
    assert said["uid"] >= FIRST
    assert said["groups"] in ([], [said["uid"]])
    assert said["capabilities"] == ["0" * 16] * 4
    assert said["no_new_privs"] == "1"
    assert set(said["root"]) <= {
        *("agent", "bin", "data", "dev", "etc", "lib", "lib64", "nullbox", "proc", "run", "sbin", "tmp", "usr"),
        Path(sys.base_prefix).resolve().parts[1],
    }
    assert len(said["processes"]) == 3  # init, launcher, agent
    assert said["devices"] == ["fd", "full", "null", "random", "stdin", "stdout", "urandom", "zero"]
    assert said["links"] == ["eth0", "lo"]
    assert said["environment"] == {"AGENT_NAME": "witness", "AGENT_VERSION": "0.0.0", "CTXGRAPH_PORT": "9100"}
    assert said["resolver"].startswith("10.90.")
    assert said["read grant"] == "tides"
    for allowed in ("write tmp", "write grant", "fork", "thread"):
        assert said[allowed] == "allowed", allowed
    refused = {"Read-only file system", "Permission denied", "Operation not permitted"}
    for name in ("write root", "write usr", "write own folder", "write read grant", "set uid", "mount"):
        assert said[name] in refused, name
    assert said["seccomp"] == "2"
    for name in ("raw socket", "vsock", "kernel crypto socket", "namespace", "namespace by clone", "ptrace", "keyring"):
        assert said[name] == "Operation not permitted", name
    assert said["reach out"] != "allowed"
    assert said["ask for a name"] != "allowed"
    entry = eventually(lambda: up.nulld.ctx_latest("witness.seen"), "nothing was written")
    assert entry["agent_id"] == "witness"
    assert entry["value"] == said
    denied = eventually(lambda: up.nulld.egress_log("witness"), "no denial")
    assert {each["name"] for each in denied} == {"forbidden.example"}
    assert up.nulld.egress_explain("witness", "example.com")["allowed"] is False
    assert (up.hosted.state / "var" / "lib" / "nullbox" / "data" / "out" / "x").read_text() == "x"


def test_agents_outlive_their_actor_and_come_back_when_they_crash(up: Up) -> None:
    node = next(node for node in up.nulld.tree() if node["id"] == "cage:sleeper")
    sandbox = up.nulld.agent_inspect("sleeper")["vm"]["vmm"]["pid"]
    inside = ["nsenter", "-t", str(up.first), "-p", "-m"]
    subprocess.run([*inside, "kill", "-KILL", str(node["pid"])], check=True)
    eventually(lambda: up.agent("sleeper")["incarnation"] > node["incarnation"], "no new actor")
    up.nulld.agent_wait("sleeper", timeout=LONG)
    adopted = eventually(lambda: up.nulld.agent_inspect("sleeper")["vm"], "the new actor has no agent")
    assert adopted["vmm"]["pid"] == sandbox
    subprocess.run([*inside, "kill", "-KILL", str(sandbox)], check=True)
    eventually(lambda: up.agent("sleeper")["restarts_total"] >= 2, "it was not restarted")
    up.nulld.agent_wait("sleeper", timeout=LONG)
    assert up.nulld.agent_inspect("sleeper")["vm"]["vmm"]["pid"] != sandbox
    kinds = [event["kind"] for event in up.nulld.events()["events"] if event["child"] == "cage:sleeper"]
    assert kinds.count("exit") >= 2


def test_the_day_of_the_booted_machine_is_the_same_here(up: Up, tmp_path: Path) -> None:
    operators_day.spend(Machine(RunFolder(up.hosted.run), "", 0.0), tmp_path)


def test_several_instances_side_by_side(up: Up, folder: Path) -> None:
    (folder / "two" / "agents").mkdir(parents=True)
    two = Up(folder / "two", folder / "two" / "agents")
    try:
        two.ready()
        assert two.nulld.agent_list() == []
        assert {each["name"] for each in up.nulld.agent_list()} == {"sleeper", "witness"}
        third = subprocess.run(
            [*NULLBOX, "up", "--driver", "process", "--state", str(two.hosted.state)], capture_output=True, text=True
        )
        assert third.returncode == 1
        assert f"already, as process {two.process.pid}" in third.stderr
        assert two.ok("power", "off") == "turning off\n"
        assert two.process.wait(LONG) == 0
        assert not [each for each in traces(two.hosted.state) if str(two.hosted.state) in each]
        assert up.nulld.status()["healthy"]
    finally:
        two.close()


def test_when_nullbox_up_is_killed_the_instance_stops_and_the_next_one_starts_clean(up: Up, folder: Path) -> None:
    first = up.first
    own = namespaces_of(first)
    up.nulld.close()
    up.process.kill()
    up.process.wait(10)
    eventually(lambda: own["pid"] not in in_use(), "the instance goes on without its parent")
    again = Up(folder, folder / "agents")
    try:
        again.ready()
        assert again.agent("witness")["state"] == "running"
        assert again.end() == 0
    finally:
        again.close()
    assert traces(up.hosted.state) == []


def test_without_a_microvm_krun_is_refused_and_names_the_other_driver(folder: Path) -> None:
    from nullbox.host import acceleration
    from nullbox.host.qemu import BINARY

    if acceleration.choose(BINARY).kvm:
        pytest.skip("microVMs run on this host")
    done = subprocess.run([*NULLBOX, "up", "--state", str(folder / "s")], capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 1
    assert "no microVM can run on this host" in done.stderr
    assert "--driver process" in done.stderr
    assert "isolates nothing" in done.stderr
    assert not (folder / "s").exists()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[supervision]\nmax_restart = 5\n", "supervision.max_restart is not a key"),
        ('[cage]\ndriver = "process"\n', "nothing"),
    ],
)
def test_a_wrong_file_is_refused_before_anything_is_started(folder: Path, text: str, says: str) -> None:
    config = folder / "nulld.toml"
    config.write_text(text)
    words = ["up", "--state", str(folder / "s"), "--config", str(config), "--driver", "krun"]
    done = subprocess.run([*NULLBOX, *words], capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 1
    assert says in done.stderr
    assert not (folder / "s").exists()


def test_a_file_cannot_ask_for_the_process_driver(folder: Path) -> None:
    """nulld as in the image: no driver on its command line."""
    system = folder / "system"
    (system / "config").mkdir(parents=True)
    (system / "config" / "nulld.toml").write_text('[cage]\ndriver = "process"\n')
    program = "from nullbox.supervision.nulld import main; main()"
    roots = [f"--run={folder / 'run'}", f"--state={folder / 'var'}", f"--system={system}"]
    done = subprocess.run([sys.executable, "-c", program, *roots], capture_output=True, text=True, timeout=LONG)
    assert done.returncode == 2
    assert "isolates nothing" in done.stderr
    assert not (folder / "run").exists()


KRUN = """
import sys
from pathlib import Path
from nullbox.host.hosted import Hosted, Instance, locked

state, agents, image = map(Path, sys.argv[1:])
what = Hosted(state, "krun", agents, image=image)
with locked(state):
    instance = Instance(what)
    try:
        instance.start()
        status = instance.wait_ready(60.0)
        root = f"/proc/{instance._first.pid}/root"  # links below it lead from our own root on
        guest, library = (Path(root + str(Path(f"{root}/run/system/{name}").readlink())) for name in ("guest", "lib"))
        print(status["driver"], (guest / "hello").read_text(), (library / "libkrun.so").exists())
        print(instance.stop())
    finally:
        instance.close()
"""


@pytest.mark.skipif(
    shutil.which("mksquashfs") is None or "squashfs" not in Path("/proc/filesystems").read_text(),
    reason="needs mksquashfs, and squashfs in this kernel",
)
def test_microvms_of_an_instance_take_their_root_from_the_image(folder: Path) -> None:
    """What of the driver krun needs no virtualization: the image, shown in the instance's namespace alone."""
    contents, image = folder / "contents" / "system", folder / "root.squashfs"
    for name in ("guest", "lib"):
        (contents / name).mkdir(parents=True)
    (contents / "guest" / "hello").write_text("from-the-image")
    (contents / "lib" / "libkrun.so").write_text("")
    subprocess.run(["mksquashfs", contents.parent, image, "-quiet", "-no-progress"], check=True, capture_output=True)
    (folder / "agents").mkdir()
    words = [str(folder / "state"), str(folder / "agents"), str(image)]
    done = subprocess.run([sys.executable, "-c", KRUN, *words], capture_output=True, text=True, timeout=LONG)
    assert done.stdout == "krun from-the-image True\n0\n", done.stderr
    assert traces(folder / "state") == []
    backing = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert not [each for each in backing if str(folder) in each]

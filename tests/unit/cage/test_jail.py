"""The jail of a VMM, tried from inside: each attempt is a process of its own in a real jail, as a VMM that was taken
over.

The table says what the kernel must answer, and so which part of the jail it was: SIGSYS and EPERM seccomp's, ENOENT
the mount namespace's, EROFS a read-only mount's, EACCES Landlock's or the permission bits'. What a VMM has to be able
to do is in the same table, since a jail that stops everything would pass all the rest.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import jail_breaker
import pytest

from nullbox.cage import jail, landlock
from nullbox.cage.users import DATA_GROUP, FIRST
from nullbox.cage.vmplan import Bind, JailSpec

REPOSITORY = Path(__file__).parents[3]
ENVIRON = {"PYTHONPATH": f"{REPOSITORY}:{REPOSITORY}/tests/support", "PATH": os.environ["PATH"]}
UID = FIRST + 4711

KILLED = "SIGSYS"

EXPECTED = {
    "execve": KILLED,
    "execveat": KILLED,
    "fork": "EPERM",
    "vfork": KILLED,
    "ptrace": KILLED,
    "process_vm_writev": KILLED,
    "kill": "EPERM",
    "tgkill": "EPERM",
    "read the parent's environment": "ENOENT",
    "x32": KILLED,
    "code in new memory": "EPERM",
    "code in old memory": "EPERM",
    "inet socket": KILLED,
    "inet6 socket": KILLED,
    "packet socket": KILLED,
    "netlink socket": KILLED,
    "vsock socket": KILLED,
    "another agent's socket": "ENOENT",
    "inherited descriptor": "EBADF",
    "open /etc/passwd": "ENOENT",
    "climb out": "ENOENT",
    "climb out through /proc": "ENOENT",
    "open a host's file through a link": "ENOENT",
    "open /proc/1": "ENOENT",
    "open /proc/sys": "ENOENT",
    "write to the root": "EROFS",
    "write to the guest's root": "EROFS",
    "write to the agent's folder": "EROFS",
    "write to a read-only grant": "EROFS",
    "change the mode in a read-only grant": "EROFS",
    "link into a grant": "EXDEV",
    "rename into the room": "EXDEV",
    "make a device": "EACCES",
    "make a device without a driver": "EACCES",
    "open a file of root in a grant": "EACCES",
    "file in the room": "EACCES",
    "link in the room": "EACCES",
    "folder in the room": "EACCES",
    "file beside the socket": "EROFS",
    "remove the socket": "EROFS",
    "file handle": KILLED,
    "change a file's project": "EPERM",
    "mount": KILLED,
    "unmount": KILLED,
    "pivot_root": KILLED,
    "chroot": KILLED,
    "user namespace": KILLED,
    "network namespace": KILLED,
    "setns": KILLED,
    "become root": KILLED,
    "bpf": KILLED,
    "io_uring": KILLED,
    "keyctl": KILLED,
    "load a module": KILLED,
    "reboot": KILLED,
    "userfaultfd": KILLED,
    "take a limit back": "EPERM",
    "memfd": "EPERM",
    "make a thread": "done",
    "read the guest's root": "done",
    "read the agent's folder": "done",
    "read a read-only grant": "done",
    "write to a write grant": "done",
    "rename in a write grant": "done",
    "link in a write grant": "done",
    "fifo in a write grant": "done",
    "connect to its own socket": "done",
    "listen in the room": "done",
    "open through its own descriptors": "done",
}

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: only root can build the jail of a VMM")


@pytest.fixture
def spec(tmp_path: Path) -> Iterator[JailSpec]:
    """The folders of an agent with a write grant (0) and a read-only one (1), with a listener where ctxgraph's would
    be."""
    for name in ("jail", "guest", "agent", "data/write", "data/read", "ctx", "ctx-other", "room"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "guest" / "program").write_text("#!/bin/sh\n")
    (tmp_path / "guest" / "program").chmod(0o755)
    (tmp_path / "agent" / "AGENT.toml").write_text("[agent]\n")
    (tmp_path / "data" / "read" / "file").write_text("x")
    (tmp_path / "data" / "write" / "private").touch(mode=0o600)
    os.chown(tmp_path / "data" / "write", 0, DATA_GROUP)
    (tmp_path / "data" / "write").chmod(0o2770)
    os.chown(tmp_path / "room", UID, UID)
    (tmp_path / "room").chmod(0o700)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "ctx" / "sock"))
    os.chown(tmp_path / "ctx" / "sock", 0, UID)
    (tmp_path / "ctx" / "sock").chmod(0o660)
    listener.listen(1)
    yield JailSpec(
        uid=UID,
        root=str(tmp_path / "jail"),
        groups=(DATA_GROUP,),
        binds=(
            Bind(str(tmp_path / "guest"), "/guest", "read"),
            Bind(str(tmp_path / "agent"), "/agent", "read"),
            Bind(str(tmp_path / "data"), "/grants/0", "write", "write"),
            Bind(str(tmp_path / "data"), "/grants/1", "read", "read"),
            Bind(str(tmp_path / "ctx"), "/ctx", "connect"),
            Bind(str(tmp_path / "room"), "/room", "listen"),
        ),
        devices=("/dev/net/tun",) if Path("/dev/net/tun").exists() else (),
    )
    listener.close()


def attempt(spec: JailSpec, name: str, folder: Path, **environ: str) -> str:
    """What came of one attempt: `done`, the name of an error, or the name of the signal that ended the process."""
    (folder / "spec.json").write_text(json.dumps(asdict(spec)))
    secret = os.open(folder / "spec.json", os.O_RDONLY)
    try:
        ran = subprocess.run(
            [sys.executable, jail_breaker.__file__, str(folder / "spec.json"), name],
            env={**ENVIRON, "SECRET": str(secret), **environ},
            pass_fds=(secret,),
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        os.close(secret)
    first, _, outcome = ran.stdout.partition("\n")
    assert first == "ready", ran.stderr
    return signal.Signals(-ran.returncode).name if ran.returncode < 0 else outcome.strip()


def test_every_attempt_has_an_expected_end() -> None:
    assert set(EXPECTED) | {"abstract socket"} == set(jail_breaker.ATTEMPTS)


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_attempt(name: str, spec: JailSpec, tmp_path: Path) -> None:
    assert attempt(spec, name, tmp_path) == EXPECTED[name]


@pytest.mark.skipif(
    landlock.abi() < landlock.SCOPE_ABI, reason="needs a kernel with Landlock of version 6 (Linux 6.12)"
)
def test_abstract_sockets_of_others_are_out_of_reach(spec: JailSpec, tmp_path: Path) -> None:
    name = f"nullbox-test-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{name}")
        listener.listen(1)
        assert attempt(spec, "abstract socket", tmp_path, ABSTRACT=name) == "EPERM"


def test_a_program_on_the_host_sees_nothing_of_the_jails_mounts(spec: JailSpec, tmp_path: Path) -> None:
    attempt(spec, "write to a write grant", tmp_path)
    assert list((tmp_path / "jail").iterdir()) == []
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text()


def test_what_it_writes_belongs_to_its_user_and_to_the_group_of_the_folder(spec: JailSpec, tmp_path: Path) -> None:
    attempt(spec, "write to a write grant", tmp_path)
    found = (tmp_path / "data" / "write" / "file").stat()
    assert (found.st_uid, found.st_gid) == (UID, DATA_GROUP)


def unbuildable(spec: JailSpec, tmp_path: Path) -> str:
    (tmp_path / "spec.json").write_text(json.dumps(asdict(spec)))
    ran = subprocess.run(
        [sys.executable, jail_breaker.__file__, str(tmp_path / "spec.json"), "make a thread"],
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 1
    assert "ready" not in ran.stdout
    return ran.stderr


def test_a_folder_that_is_not_there_is_no_jail(spec: JailSpec, tmp_path: Path) -> None:
    gone = replace(spec, binds=(*spec.binds, Bind(str(tmp_path / "gone"), "/gone", "read")))
    assert "change the root: No such file or directory" in unbuildable(gone, tmp_path)


def test_a_grant_through_a_link_is_no_jail(spec: JailSpec, tmp_path: Path) -> None:
    """Whoever may write in a shared folder might put a link where another agent's grant is."""
    (tmp_path / "data" / "write" / "inner").symlink_to("/etc")
    crooked = replace(spec, binds=(*spec.binds, Bind(str(tmp_path / "data"), "/grants/2", "read", "write/inner")))
    assert "change the root: open write/inner" in unbuildable(crooked, tmp_path)


def test_a_device_that_is_not_there_is_no_jail(spec: JailSpec, tmp_path: Path) -> None:
    assert "change the root" in unbuildable(replace(spec, devices=("/dev/no-such-device",)), tmp_path)


def test_the_copy_of_a_device_is_for_the_agent_alone(spec: JailSpec, tmp_path: Path) -> None:
    target = tmp_path / "copy"
    jail._copy_device("/dev/null", str(target), UID)
    found = target.stat()
    assert stat.S_ISCHR(found.st_mode)
    assert (found.st_rdev, found.st_uid, stat.S_IMODE(found.st_mode)) == (os.stat("/dev/null").st_rdev, UID, 0o600)


def test_every_step_has_a_name_of_its_own() -> None:
    names = [name for name, _ in jail.STEPS]
    assert len(set(names)) == len(names)
    assert names[-1] == "verify the jail"

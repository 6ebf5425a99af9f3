"""Starting and ending actor systems: the directory, the lock, what is left of the dead, read-only file systems."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_processes import pids, wait_gone

from nullbox.actors import sockets
from nullbox.actors.base import BaseActor
from nullbox.actors.system import start_system
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import (
    Address,
    Exiting,
    ExitReason,
    Phase,
    Ping,
    Pong,
    Query,
    Ready,
    Reply,
    Start,
    Stop,
)
from nullbox.testing import Processes, processes

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare(1): makes a mount namespace"
)


class Plain(BaseActor):
    def on_query(self, query: Query, sender: Address) -> None:
        if query.verb == "tmp":
            self.tell(sender, Reply(query.request_id, [os.access("/tmp", os.W_OK), os.access("/", os.W_OK)]))
        elif query.verb == "raise":
            raise RuntimeError("as told")
        elif query.verb == "fds":
            self.tell(
                sender, Reply(query.request_id, [os.readlink(f"/proc/self/fd/{fd}") for fd in query.params["fds"]])
            )


class Orderly(BaseActor):
    """Takes its time to end."""

    def stopping(self, stop: Stop) -> None:
        self.phase("stopping", reason=stop.reason)
        self.after(0.05, lambda: self.exit(ExitReason("shutdown", "tidied up")))


class NeverUp(BaseActor):
    def __init__(self) -> None:
        raise OSError("no such device")


class EndsAtOnce(BaseActor):
    def __init__(self) -> None:
        os._exit(7)


@pytest.fixture
def place(no_orphans: None) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="nullbox-") as name:
        yield Path(name) / "sockets"


def test_the_directory_is_made_for_its_owner_only(place: Path) -> None:
    with start_system(place / "a" / "b"):
        assert (place / "a" / "b").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_enter_is_refused(place: Path, mode: int) -> None:
    place.mkdir()
    place.chmod(mode)
    with pytest.raises(NullBoxError, match="mode 0700") as caught:
        start_system(place)
    assert caught.value.code is ErrorCode.INVALID


@pytest.mark.parametrize("path", ["relative", "/tmp/" + "x" * 80])
def test_a_path_that_no_socket_can_have_is_refused(path: str) -> None:
    with pytest.raises(NullBoxError, match="absolute path of at most"):
        start_system(Path(path))


def test_a_link_in_the_directorys_place_is_refused(place: Path) -> None:
    place.parent.joinpath("real").mkdir(mode=0o700)
    place.symlink_to("real")
    with pytest.raises(NullBoxError, match="must be a directory"):
        start_system(place)


def test_two_systems_in_one_directory_are_refused(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sockets, "LOCK_SECONDS", 0.1)
    with start_system(place), pytest.raises(NullBoxError, match=f"an actor system of pid {os.getpid()} runs") as caught:
        start_system(place)
    assert caught.value.code is ErrorCode.CONFLICT
    start_system(place).shutdown()


def test_two_systems_in_two_directories_know_nothing_of_each_other(place: Path) -> None:
    with start_system(place / "a") as first, start_system(place / "b") as second:
        roots = [system.spawn_root(Plain, "root") for system in (first, second)]
        for system, root in zip((first, second), roots, strict=True):
            system.tell(root, Start("root", 1, {}, {}))
            assert system.ask(root, Ping(1), 5) == Pong(1)
        assert not first.tell(roots[1], Ping(2))


def test_many_that_start_at_once_leave_one(place: Path) -> None:
    """Ten processes race for one directory: one wins, nine are told who did."""
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from nullbox.actors import sockets
        from nullbox.actors.system import start_system
        from nullbox.protocols.errors import NullBoxError
        sockets.LOCK_SECONDS = 0.2
        try:
            system = start_system(Path({str(place)!r}))
        except NullBoxError as error:
            print(error.code.value)
        else:
            print("up", flush=True)
            sys.stdin.read()
            system.shutdown()
    """)
    racers = [
        subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(10)
    ]
    outcomes = [racer.stdout.readline().strip() for racer in racers if racer.stdout]
    for racer in racers:
        racer.communicate()
    assert sorted(outcomes) == ["conflict"] * 9 + ["up"]


def test_what_a_killed_system_left_is_no_obstacle(place: Path) -> None:
    """The launcher is killed: the kernel kills the rest, the next start removes the sockets."""
    script = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from nullbox.actors.system import start_system
        from nullbox.testing.processes import Nursery
        system = start_system(Path({str(place)!r}))
        system.spawn_root(Nursery, "nursery")
        print(system.admin_pid, flush=True)
        sys.stdin.read()
    """)
    launcher = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert launcher.stdout is not None
    everyone = {int(launcher.stdout.readline()), *pids(place).values()}
    launcher.kill()
    launcher.communicate()
    assert all(wait_gone(pid, 1) for pid in everyone)
    assert len(list(place.iterdir())) >= 4
    with start_system(place) as system:
        left = {path.name for path in place.iterdir()}
        assert {name for name in left if name.startswith(("ext.", "admin"))} == {system.address.name, "admin"}
        assert not {str(pid) for pid in everyone} & {name.split(".")[1] for name in left if name.count(".") == 2}


def test_it_cannot_be_started_from_a_thread_that_may_end(place: Path) -> None:
    errors: list[NullBoxError] = []

    def start() -> None:
        try:
            start_system(place)
        except NullBoxError as error:
            errors.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert [error.code for error in errors] == [ErrorCode.WRONG_STATE]


@pytest.mark.parametrize(
    ("actor", "why"), [(NeverUp, "crash: OSError: no such device"), (EndsAtOnce, "exit: ended with status 7")]
)
def test_a_root_that_does_not_come_up_is_reported_at_once(place: Path, actor: type[BaseActor], why: str) -> None:
    with start_system(place) as system:
        with pytest.raises(NullBoxError, match=why):
            system.spawn_root(actor, "root")
        root = system.spawn_root(Plain, "root")
        system.tell(root, Start("root", 1, {}, {}))
        assert system.ask(root, Ping(1), 5) == Pong(1)


def test_a_root_that_cannot_be_found_by_its_name_is_an_error(place: Path) -> None:
    class Local(BaseActor):
        pass

    with start_system(place) as system, pytest.raises(NullBoxError, match=r"cannot make .*Local"):
        system.spawn_root(Local, "root")


def test_the_root_may_take_its_time_to_end(place: Path) -> None:
    system = start_system(place)
    root = system.spawn_root(Orderly, "root")
    system.tell(root, Start("root", 1, {}, {}))
    assert isinstance(system.receive(5), tuple)
    system.shutdown()
    assert system._base.admin_reason == ExitReason("exit", "ended with status 0, without a word", 0)
    assert not place.joinpath(root.name).exists()


def test_the_launcher_sees_the_roots_end_and_its_reason(place: Path) -> None:
    with start_system(place) as system:
        root = system.spawn_root(Orderly, "root")
        system.tell(root, Start("root", 1, {}, {}))
        assert system.wait(0.05) is None
        system.tell(root, Stop("enough"))
        assert system.wait(5) == ExitReason("shutdown", "tidied up")


def test_asking_for_an_answer_that_never_comes_ends_in_time(system: Processes) -> None:
    plain = system.start(Plain)
    with pytest.raises(NullBoxError, match=r"did not answer Query within 0\.05 s") as caught:
        system.system.ask(plain, Query(1, "nothing"), 0.05)
    assert caught.value.code is ErrorCode.TIMEOUT


def test_sigterm_ends_an_actor_as_stop_does(system: Processes) -> None:
    orderly = system.start(Orderly)
    os.kill(int(orderly.name.split(".")[1]), signal.SIGTERM)
    assert system.ended(orderly) == ExitReason("shutdown", "tidied up")


def test_actors_hold_no_descriptor_of_the_launcher(no_orphans: None) -> None:
    """A pipe that the launcher has open reports its end when the launcher's copy is closed."""
    ours, theirs = os.pipe()
    try:
        with processes() as system:
            found = system.ask(system.start(Plain), Query(1, "fds", {"fds": [ours, theirs]})).value
            assert found == ["/dev/null", "/dev/null"]
            os.close(theirs)
            assert os.read(ours, 1) == b""
    finally:
        os.close(ours)


class Survivor(BaseActor):
    survives_parent = True


class ParentOfSurvivor(BaseActor):
    def started(self, start: Start) -> None:
        self.child = self.spawn(Survivor, "survivor")
        self.tell(self.child, Start("survivor", 1, {}, {}))

    def on_ready(self, message: Ready, sender: Address) -> None:
        self.phase("up", child=sender)
        self.ready()


def test_a_child_that_is_declared_to_survive_does(system: Processes, directory: Path) -> None:
    parent = system.start(ParentOfSurvivor)
    child: Address = system.expect(Phase, sender=parent).detail["child"]
    pid = int(child.name.split(".")[1])
    try:
        system.kill(parent)
        system.ended(parent)
        assert system.ask(child, Ping(1)) == Pong(1)
        assert directory.joinpath(child.name).exists()
    finally:
        os.kill(pid, signal.SIGKILL)
        assert wait_gone(pid, 1)


@needs_root
def test_it_works_where_nothing_else_can_be_written(tmp_path: Path) -> None:
    """`/`, `/tmp` and `/dev/shm` read-only, as in the image; an exception in a handler is still reported."""
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from nullbox.actors.system import start_system
        from nullbox.protocols.messages import CrashReport, Ping, Pong, Query, Reply, Start
        sys.path.insert(0, sys.argv[1])
        import read_only_actor
        with start_system(Path("/run/nullbox-test")) as system:
            root = system.spawn_root(read_only_actor.Plain, "root")
            system.tell(root, Start("root", 1, {}, {}))
            assert system.ask(root, Ping(1), 5) == Pong(1)
            assert system.ask(root, Query(1, "tmp"), 5) == Reply(1, [False, False])
            system.tell(root, Query(2, "raise"))
            assert system.wait(5).detail == "RuntimeError: as told"
        print("worked")
    """)
    (tmp_path / "read_only_actor.py").write_text(
        "import os\n"
        "from nullbox.actors.base import BaseActor\n"
        "from nullbox.protocols.messages import Reply\n"
        "class Plain(BaseActor):\n"
        "    def on_query(self, query, sender):\n"
        "        if query.verb == 'raise': raise RuntimeError('as told')\n"
        "        writable = [os.access(path, os.W_OK) for path in ('/tmp', '/')]\n"
        "        self.tell(sender, Reply(query.request_id, writable))\n"
    )
    code = tmp_path / "code"
    mounts = " && ".join(
        [
            "mount --make-rprivate /",
            "mount -t tmpfs tmpfs /run",
            f"mkdir -p /run/code && mount --bind {tmp_path} /run/code",
            "mount --bind /tmp /tmp && mount -o remount,ro,bind /tmp",
            "mount --bind /dev/shm /dev/shm && mount -o remount,ro,bind /dev/shm",
            "mount -o remount,ro,bind /",
        ]
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", f'{mounts} && cd / && exec "$0" "$@"', sys.executable, "-c", script, "/run/code"],
        capture_output=True,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "PYTHONDONTWRITEBYTECODE": "1",
        },
    )
    assert done.stdout.splitlines()[-1:] == ["worked"], done.stdout + done.stderr
    assert not code.exists()


def test_the_harness_reports_the_end_of_what_was_told_to_end(system: Processes) -> None:
    orderly = system.start(Orderly)
    assert system.stop(orderly) == ExitReason("shutdown", "tidied up")
    assert isinstance(system.expect(Exiting, sender=orderly), Exiting)

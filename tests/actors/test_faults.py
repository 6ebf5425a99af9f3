"""Every way to end or to hang, of every kind of process, with its bound: noticed, and nothing left behind."""

from __future__ import annotations

import logging
import os
import select
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system_processes import children, descriptors, pids, state, wait_gone

from nullbox.actors import logs
from nullbox.actors.admin import Admin
from nullbox.actors.base import BaseActor
from nullbox.actors.system import System, start_system
from nullbox.actors.transport import naming
from nullbox.protocols.messages import Address, ExitReason, Phase, Ping, Pong, Query, Ready, Reply, Start
from nullbox.testing import Processes

BOUND = 1.0
"""Seconds in which every end must be noticed here; the benchmark holds the real figure, milliseconds."""


def commit(fault: str) -> None:
    """Do it, in this process."""
    if fault == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "SIGSEGV":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif fault in ("SIGBUS", "SIGFPE", "SIGILL"):
        os.kill(os.getpid(), getattr(signal, fault))
    elif fault == "_exit":
        os._exit(3)
    elif fault == "exception":
        raise RuntimeError("as told")
    elif fault == "hang":
        while True:
            pass
    elif fault == "stopped":
        os.kill(os.getpid(), signal.SIGSTOP)


REASONS = {
    "SIGKILL": ExitReason("signal", "killed by SIGKILL", 9),
    "SIGSEGV": ExitReason("signal", "killed by SIGSEGV", 11),
    "SIGBUS": ExitReason("signal", "killed by SIGBUS", 7),
    "SIGFPE": ExitReason("signal", "killed by SIGFPE", 8),
    "SIGILL": ExitReason("signal", "killed by SIGILL", 4),
    "_exit": ExitReason("exit", "ended with status 3, without a word", 3),
    "exception": ExitReason("crash", "RuntimeError: as told"),
    "hang": ExitReason("signal", "killed by SIGKILL", 9),
    "stopped": ExitReason("signal", "killed by SIGKILL", 9),
}
"""Fault → what the parent gets to know. What hangs is killed by the parent when it answers no heartbeat."""
ADMIN_REASONS = {"exception": ExitReason("exit", "ended with status 70, without a word", 70)}
"""The administrator has nobody to report to; what went wrong is in the log."""
ENDS = ("SIGKILL", "SIGSEGV", "_exit", "exception")
HANGS = ("hang", "stopped")


class Node(BaseActor):
    """Has children as told, and does as told. Kills a child that leaves heartbeats unanswered for 0.2 s."""

    def started(self, start: Start) -> None:
        self.kids: dict[str, Address] = {}
        self.waiting = int(start.config.get("depth", 0))
        for number in range(self.waiting):
            kid = self.spawn(Node, f"kid{number}")
            self.kids[f"kid{number}"] = kid
            self.tell(kid, Start(f"kid{number}", 1, {}, {}))
        if not self.waiting:
            self.ready()

    def on_ready(self, message: Ready, sender: Address) -> None:
        self.waiting -= 1
        if not self.waiting:
            self.ready()

    def on_query(self, query: Query, sender: Address) -> None:
        if query.verb == "kids":
            self.tell(sender, Reply(query.request_id, list(self.kids.values())))
        elif query.verb == "pass on":
            self.tell(self.kids["kid0"], Query(query.request_id, "do", query.params))
            self.tell(self.kids["kid0"], Ping(1))
            self.deadline = self.after(0.2, lambda: self.kill(self.kids["kid0"]))
        elif query.verb == "pass on, and go on sending":
            self.tell(self.kids["kid0"], Query(query.request_id, "do", query.params))
            while self.tell(self.kids["kid0"], Ping(1)):  # until it is gone, or its outbox is full
                pass
        elif query.verb == "admin":
            self.handleDeadLetters()
        elif query.verb == "log":
            logging.getLogger("faults").warning("%s", query.params["text"])
        elif query.verb == "do":
            commit(query.params["fault"])

    def on_pong(self, message: Pong, sender: Address) -> None:
        self.deadline.cancel()

    def child_exited(self, address: Address, reason: ExitReason) -> None:
        self.phase("child ended", address=address, reason=reason, at=time.monotonic())


def family(system: Processes, address: Address) -> list[int]:
    answer = system.ask(address, Query(1, "kids"))
    return [int(kid.name.split(".")[1]) for kid in answer.value]


@pytest.mark.parametrize("fault", REASONS)
def test_of_a_child(system: Processes, directory: Path, fault: str) -> None:
    """The parent learns it once, with the right reason, in time; nothing of the child is left."""
    parent = system.start(Node, {"depth": 2})
    victim, sibling = family(system, parent)
    system.tell(parent, Query(2, "pass on", {"fault": fault}))
    ended = system.expect(Phase, sender=parent, timeout=BOUND + 0.2)
    assert ended.detail["reason"] == REASONS[fault]
    assert state(victim) == "-"  # collected
    assert victim not in pids(directory).values()
    assert state(sibling) in "SR"
    with pytest.raises(AssertionError, match="no Phase"):
        system.expect(Phase, sender=parent, timeout=0.1)


def test_last_words_arrive_though_the_parent_is_sending(system: Processes) -> None:
    """A socket that closes with unread packets is an error to its peer (ECONNRESET, EPIPE), before what it sent."""
    for _ in range(10):
        parent = system.start(Node, {"depth": 1})
        system.tell(parent, Query(2, "pass on, and go on sending", {"fault": "exception"}))
        assert system.expect(Phase, sender=parent, timeout=6).detail["reason"] == REASONS["exception"]
        system.stop(parent)


@pytest.mark.parametrize("fault", ENDS)
def test_of_a_parent(system: Processes, directory: Path, fault: str) -> None:
    """Its children end with it, even one that hangs and one that is stopped, and their sockets go."""
    parent = system.start(Node, {"depth": 3})
    kids = family(system, parent)
    system.tell(parent, Query(2, "pass on", {"fault": "hang"}))
    os.kill(kids[1], signal.SIGSTOP)
    system.tell(parent, Query(2, "do", {"fault": fault}))
    assert system.ended(parent, BOUND) == REASONS[fault]
    assert all(wait_gone(kid, BOUND) for kid in kids)
    until = time.monotonic() + 2
    while set(kids) & set(pids(directory).values()) and time.monotonic() < until:
        system.ask(system.nursery, Ping(1))
    assert not set(kids) & set(pids(directory).values())


@pytest.mark.parametrize("fault", HANGS)
def test_of_a_parent_that_hangs(system: Processes, fault: str) -> None:
    """Its children work on; when it is killed, they go."""
    parent = system.start(Node, {"depth": 1})
    kid = system.ask(parent, Query(1, "kids")).value[0]
    system.tell(parent, Query(2, "do", {"fault": fault}))
    assert system.ask(kid, Ping(1)) == Pong(1)
    system.kill(parent)
    assert system.ended(parent, BOUND) == REASONS["SIGKILL"]
    assert wait_gone(int(kid.name.split(".")[1]), BOUND)


class Tree:
    """A system of its own, without the harness's nursery: the root is a `Node` with two children."""

    def __init__(self, system: System, directory: Path) -> None:
        self.system, self.directory = system, directory
        self.root = system.spawn_root(Node, "root")
        system.tell(self.root, Start("root", 1, {"depth": 2}, {}))
        assert isinstance(self.receive(), Ready)
        until = time.monotonic() + 5
        while len(found := pids(directory)) < 3 and time.monotonic() < until:
            system.wait(0.002)
        self.all = {*found.values(), system.admin_pid}
        assert len(self.all) == 4  # admin, root, two children; no logger before something is logged

    def receive(self) -> Any:
        came = self.system.receive(5)
        assert came is not None
        return came[0]

    def do(self, fault: str) -> None:
        self.system.tell(self.root, Query(1, "do", {"fault": fault}))


@pytest.fixture
def tree(no_orphans: None) -> Iterator[Tree]:
    with tempfile.TemporaryDirectory(prefix="nullbox-") as name:
        system = start_system(Path(name))
        try:
            yield Tree(system, Path(name))
        finally:
            system.shutdown(1.0)
        assert [path.name for path in Path(name).iterdir()] == [".lock"]


@pytest.mark.parametrize("fault", ENDS)
def test_of_the_root(tree: Tree, fault: str) -> None:
    """The launcher learns why; the root's children are gone; another root can be made."""
    tree.do(fault)
    assert tree.system.wait(BOUND) == REASONS[fault]
    loggers = {pid for name, pid in pids(tree.directory).items() if name.startswith(naming.LOGGER)}
    for pid in tree.all - loggers - {tree.system.admin_pid}:
        assert wait_gone(pid, BOUND)
    root = tree.system.spawn_root(Node, "root")
    tree.system.tell(root, Start("root", 2, {}, {}))
    assert tree.system.ask(root, Ping(5), 5) == Pong(5)


@pytest.mark.parametrize("fault", HANGS)
def test_of_a_root_that_hangs(tree: Tree, fault: str) -> None:
    """It is not noticed without heartbeats, but it cannot keep the system from being ended in time."""
    tree.do(fault)
    assert tree.system.wait(0.1) is None
    began = time.monotonic()
    tree.system.shutdown(0.3)
    assert time.monotonic() - began < 0.3 + BOUND
    assert all(wait_gone(pid, 0) for pid in tree.all)


@pytest.mark.parametrize("fault", [*ENDS, *HANGS])
def test_of_the_administrator(no_orphans: None, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Everything ends with it, at once, and the launcher knows. Hanging, it harms no talk among actors."""
    monkeypatch.setattr(Admin, "h_HandleDeadLetters", lambda _self, _envelope: commit(fault))
    with tempfile.TemporaryDirectory(prefix="nullbox-") as name:
        system = start_system(Path(name))
        tree = Tree(system, Path(name))
        system.tell(tree.root, Query(1, "admin"))
        if fault in HANGS:
            assert system.ask(tree.root, Ping(1), 5) == Pong(1)
            assert system.wait(0.1) is None
            system.shutdown(0.2)
        else:
            assert system.wait(BOUND) == ADMIN_REASONS.get(fault, REASONS[fault])
        assert all(wait_gone(pid, BOUND) for pid in tree.all)
        system.shutdown(0.5)
        assert [path.name for path in Path(name).iterdir()] == [".lock"]


class FaultyHandler(logging.FileHandler):
    """A log handler that commits the fault that a message names, and writes the others."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("fault:"):
            commit(record.getMessage().partition(":")[2])
        super().emit(record)


def read_line(fd: int, seconds: float) -> str:
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(seconds * 1000), "nothing was logged in time"
    return os.read(fd, 4096).decode()


@pytest.mark.parametrize("fault", [*ENDS, *HANGS])
def test_of_the_logger(no_orphans: None, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    """Made for the first record. Nobody else notices its end; it is replaced, and what is logged afterwards arrives."""
    with tempfile.TemporaryDirectory(prefix="nullbox-") as name:
        fifo = Path(name) / "log"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)

        monkeypatch.setattr(logs, "destination", lambda: FaultyHandler(fifo))
        directory = Path(name) / "sockets"
        with start_system(directory) as system:
            tree = Tree(system, directory)
            assert not [each for each in pids(directory) if each.startswith(naming.LOGGER)]
            system.tell(tree.root, Query(1, "log", {"text": "before"}))
            assert "before" in read_line(reader, 5)
            (logger,) = (pid for each, pid in pids(directory).items() if each.startswith(naming.LOGGER))
            for _ in range(30 if fault == "exception" else 1):  # the logger forgives 20 a second
                system.tell(tree.root, Query(1, "log", {"text": f"fault:{fault}"}))
            if fault in HANGS:
                for _ in range(3000):
                    system.tell(tree.root, Query(1, "log", {"text": "x" * 1000}))
                    assert system.ask(tree.root, Ping(1), 5) == Pong(1)
            else:
                assert wait_gone(logger, BOUND)
                system.tell(tree.root, Query(1, "log", {"text": "after"}))
                assert "after" in read_line(reader, 5)
            assert system.ask(tree.root, Ping(2), 5) == Pong(2)
            assert system.wait(0.05) is None
        os.close(reader)


def run_cycles(system: Processes, directory: Path, count: int) -> None:
    """Children of one parent that come and go: killed, crashed, stopped, in turn."""
    parent = system.start(Node)
    everyone = [os.getpid(), int(parent.name.split(".")[1]), int(system.nursery.name.split(".")[1])]

    def one(number: int) -> None:
        kid = system.start(Node, {"depth": 1}, child_id="cycle")
        match number % 3:
            case 0:
                system.kill(kid)
            case 1:
                system.tell(kid, Query(1, "do", {"fault": "exception"}))
            case 2:
                system.stop(kid)
        system.ended(kid, 5)

    for number in range(6):
        one(number)
    before = [descriptors(pid) for pid in everyone]
    family_before = children()
    for number in range(count):
        one(number)
    assert [descriptors(pid) for pid in everyone] == before
    until = time.monotonic() + 3
    left: dict[str, int] = {}
    while time.monotonic() < until:
        system.ask(system.nursery, Ping(1))
        left = pids(directory)
        if len(left) == 3:
            break
    assert set(left.values()) == {everyone[1], everyone[2], *(p for n, p in left.items() if n.startswith("logger"))}
    for pid in everyone[1:]:
        kids = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        assert [state(int(kid)) for kid in kids if state(int(kid)) == "Z"] == []
    orphans = children() - family_before
    for pid in orphans:  # grandchildren: their parents were killed, so they fell to this process, dead
        assert state(pid) == "Z"
        os.waitpid(pid, 0)


def test_nothing_is_left_after_cycles(system: Processes, directory: Path) -> None:
    run_cycles(system, directory, 30)


@pytest.mark.slow
def test_nothing_is_left_after_500_cycles(system: Processes, directory: Path) -> None:
    run_cycles(system, directory, 500)


def run_systems(count: int) -> None:
    before = descriptors(os.getpid())
    with tempfile.TemporaryDirectory(prefix="nullbox-") as name:
        for number in range(count):
            system = start_system(Path(name))
            tree = Tree(system, Path(name))
            if number % 2:
                os.kill(system.admin_pid, signal.SIGKILL)
            system.shutdown(2)
            assert all(wait_gone(pid, 1) for pid in tree.all)
            assert [path.name for path in Path(name).iterdir()] == [".lock"]
    assert descriptors(os.getpid()) == before


def test_systems_come_and_go(no_orphans: None) -> None:
    run_systems(10)


@pytest.mark.slow
def test_100_systems_come_and_go(no_orphans: None) -> None:
    run_systems(100)

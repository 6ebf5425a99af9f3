"""Processes: what a wait status says, and children that are noticed, linked and clean."""

from __future__ import annotations

import os
import select
import signal

import pytest

from nullbox.actors import process
from nullbox.protocols.messages import ExitReason


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (0, ExitReason("exit", "ended with status 0, without a word", 0)),
        (3 << 8, ExitReason("exit", "ended with status 3, without a word", 3)),
        (9, ExitReason("signal", "killed by SIGKILL", 9)),
        (11, ExitReason("signal", "killed by SIGSEGV", 11)),
        (11 | 0x80, ExitReason("signal", "killed by SIGSEGV", 11)),  # and dumped core
        (40, ExitReason("signal", "killed by signal 40", 40)),
        (process.UNKNOWN, ExitReason("exit", "ended; its status was collected by another", None)),
    ],
)
def test_a_wait_status_becomes_a_reason(status: int, reason: ExitReason) -> None:
    assert process.reason_from_status(status) == reason


def ended(child: process.Process) -> int:
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    assert poll.poll(5000), "it did not end"
    status = child.reap()
    child.close()
    assert status is not None
    return status


def test_a_child_that_runs_is_not_waited_for() -> None:
    child = process.fork(signal.pause)
    assert child.reap() is None
    child.send_signal(signal.SIGKILL)
    assert os.WTERMSIG(ended(child)) == signal.SIGKILL


def test_a_child_runs_and_is_collected() -> None:
    ours, theirs = os.pipe()
    child = process.fork(lambda: os.write(theirs, str(os.getppid()).encode()))
    assert os.waitstatus_to_exitcode(ended(child)) == 0
    assert os.read(ours, 20).decode() == str(os.getpid())
    assert child.reap() == child.status  # again, without harm
    child.send_signal(signal.SIGKILL)
    os.close(ours)
    os.close(theirs)


def test_a_child_that_raises_ends_with_the_status_of_a_crash(capfd: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise RuntimeError("as told")

    assert os.waitstatus_to_exitcode(ended(process.fork(fail))) == process.EXIT_CRASH
    assert "RuntimeError: as told" in capfd.readouterr().err


def test_a_child_that_another_collected_is_not_taken_for_one_that_ended_well() -> None:
    child = process.fork(lambda: None)
    os.waitpid(child.pid, 0)
    assert child.reap() == process.UNKNOWN


def test_signals_do_what_they_do_by_default() -> None:
    def main() -> None:
        signal.signal(signal.SIGSEGV, lambda *_: None)
        process.default_signals()
        os.kill(os.getpid(), signal.SIGSEGV)

    assert os.WTERMSIG(ended(process.fork(main))) == signal.SIGSEGV


def test_only_named_descriptors_stay_what_they_were() -> None:
    ours, theirs = os.pipe()
    kept, report = os.pipe(), os.pipe()

    def main() -> None:
        process.neutralise_descriptors([kept[1], report[1]])
        targets = [os.readlink(f"/proc/self/fd/{fd}") for fd in (ours, theirs, kept[1])]
        os.write(report[1], "\n".join(targets).encode())

    ended(process.fork(main))
    found = os.read(report[0], 1000).decode().split("\n")
    assert found[:2] == ["/dev/null", "/dev/null"]
    assert found[2].startswith("pipe:")
    for fd in (ours, theirs, *kept, *report):
        os.close(fd)


def test_a_linked_child_ends_with_its_parent_and_another_does_not() -> None:
    """The middle process forks a linked child and one that is not, both asleep, and is killed."""
    ours, theirs = os.pipe()

    def sleep() -> None:
        signal.pause()

    def middle() -> None:
        pids = [process.fork(sleep).pid, process.fork(sleep, linked=False).pid]
        os.write(theirs, " ".join(map(str, pids)).encode())
        signal.pause()

    child = process.fork(middle)
    linked, free = map(int, os.read(ours, 100).split())
    linked_fd, free_fd = os.pidfd_open(linked), os.pidfd_open(free)
    child.send_signal(signal.SIGKILL)
    ended(child)
    poll = select.poll()
    poll.register(linked_fd, select.POLLIN)
    assert poll.poll(5000)
    poll.unregister(linked_fd)
    poll.register(free_fd, select.POLLIN)
    assert not poll.poll(50)
    signal.pidfd_send_signal(free_fd, signal.SIGKILL)
    for fd in (ours, theirs, linked_fd, free_fd):
        os.close(fd)


def test_a_process_that_has_ended_is_gone_whether_collected_or_not() -> None:
    child = process.fork(lambda: None)
    poll = select.poll()
    poll.register(child.pidfd, select.POLLIN)
    poll.poll(5000)
    assert process.is_gone(child.pid)
    child.reap()
    assert process.is_gone(child.pid)
    assert not process.is_gone(os.getpid())

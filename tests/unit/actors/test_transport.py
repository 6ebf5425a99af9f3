"""Two mailboxes of one process: what the sender does when connecting or sending does not work at once."""

from __future__ import annotations

import errno
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nullbox.actors.transport import connection, naming
from nullbox.actors.transport.outbox import Delivery
from nullbox.actors.transport.peer import Place
from nullbox.actors.transport.unix import UnixTransport
from nullbox.protocols.messages import Address, Ping


class Pair:
    """`here` talks to `there`; both are driven by the test."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.here, self.there = self.make(), self.make()
        self.got: list[int] = []
        self.there.receiver = lambda message, _sender: self.got.append(message.seq)
        self.lost: list[tuple[str, Delivery, int]] = []
        self.here.on_undelivered = lambda _target, label, delivery, count: self.lost.append((label, delivery, count))

    def make(self) -> UnixTransport:
        return UnixTransport(
            Place(self.directory, naming.name(naming.EXTERNAL, os.getpid(), naming.serial()), None, 0, -1)
        )

    def turn_until(self, count: int) -> None:
        until = time.monotonic() + 5
        while len(self.got) < count:
            assert time.monotonic() < until
            self.here.run(None, 0)
            self.there.run(None, 0.001)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with tempfile.TemporaryDirectory(prefix="nullbox-") as name:
        made = Pair(Path(name))
        yield made
        made.here.close()
        made.there.close()
        assert list(Path(name).iterdir()) == []


@pytest.mark.parametrize("error", [errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_what_passes_is_tried_again_and_nothing_is_lost(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, error: int
) -> None:
    attempts: list[Path] = []
    connect = connection.connect

    def refuse_twice(path: Path) -> socket.socket:
        attempts.append(path)
        if len(attempts) <= 2:
            raise OSError(error, os.strerror(error))
        return connect(path)

    monkeypatch.setattr(connection, "connect", refuse_twice)
    assert [pair.here.tell(pair.there.address, Ping(number)) for number in range(3)] == [Delivery.ACCEPTED] * 3
    pair.turn_until(3)
    assert (pair.got, pair.lost, len(attempts)) == ([0, 1, 2], [], 3)


def test_a_mailbox_that_is_not_there_is_unreachable(pair: Pair) -> None:
    nobody = Address(naming.name(naming.ACTOR, os.getpid(), 5))
    assert pair.here.tell(nobody, Ping(1)) is Delivery.UNREACHABLE
    assert pair.lost == [("Ping", Delivery.UNREACHABLE, 1)]


def test_what_waits_for_a_peer_that_goes_is_reported(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_path: Path) -> Any:
        raise BlockingIOError(errno.EAGAIN, "its backlog is full")

    monkeypatch.setattr(connection, "connect", full)
    for number in range(3):
        assert pair.here.tell(pair.there.address, Ping(number))
    monkeypatch.undo()
    pair.there.close()
    until = time.monotonic() + 5
    while not pair.lost and time.monotonic() < until:
        pair.here.run(None, 0.005)
    assert pair.lost == [("Ping", Delivery.UNREACHABLE, 3)]
    pair.there = pair.make()


def test_a_message_to_oneself_comes_back_as_a_copy(pair: Pair) -> None:
    assert pair.there.tell(pair.there.address, Ping(9))
    pair.there.run(None, 0)
    assert pair.got == [9]


def test_messages_to_oneself_are_bounded(pair: Pair) -> None:
    outcomes = [pair.there.tell(pair.there.address, Ping(number)) for number in range(9000)]
    assert outcomes.count(Delivery.ACCEPTED) == 8192
    assert outcomes.count(Delivery.REFUSED) == 9000 - 8192


def test_a_peer_that_came_back_under_its_name_is_talked_to_again(pair: Pair) -> None:
    assert pair.here.tell(pair.there.address, Ping(1))
    pair.turn_until(1)
    place = pair.there.place
    pair.there.close()
    pair.there = UnixTransport(place)
    pair.there.receiver = lambda message, _sender: pair.got.append(message.seq)
    assert pair.here.tell(pair.there.address, Ping(2))
    pair.turn_until(2)
    assert pair.got == [1, 2]


def test_a_run_of_no_length_still_looks_once(pair: Pair) -> None:
    assert pair.here.tell(pair.there.address, Ping(1))
    for _ in range(3):  # to accept, to be greeted, to be told
        pair.there.run(None, 0)
    assert pair.got == [1]

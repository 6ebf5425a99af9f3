"""Logging in actors: it arrives as it was meant, from every thread, and never costs an actor anything but a record."""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from nullbox.actors import logs
from nullbox.actors.base import BaseActor
from nullbox.actors.system import System, start_system
from nullbox.protocols.messages import Address, Ping, Pong, Query, Reply, Start


class Talker(BaseActor):
    """Logs in several ways, and tells how many records were lost."""

    def on_query(self, query: Query, sender: Address) -> None:
        log = logging.getLogger("talker")
        if query.verb == "plain":
            log.warning("plain %s", query.params)
        elif query.verb == "debug":
            log.debug("not wanted")
            log.warning("wanted")
        elif query.verb == "exception":
            try:
                raise RuntimeError("the cause")
            except RuntimeError:
                log.exception("with a traceback")
        elif query.verb == "wrong":
            log.warning("wrong %d %d", "arguments")
        elif query.verb == "odd":
            log.warning("odd \ud800")
            log.warning("after")
        elif query.verb == "long":
            log.warning("x" * 1_000_000)
        elif query.verb == "thread":
            thread = threading.Thread(target=log.warning, args=("from a thread",))
            thread.start()
            thread.join()
        elif query.verb == "lost":
            self.tell(sender, Reply(query.request_id, self._myRef.transport.lost_log_records))


class Sink:
    """A system whose logger writes into a FIFO that the test reads."""

    def __init__(self, system: System, reader: int) -> None:
        self.system, self._reader, self._text = system, reader, ""
        self.root = system.spawn_root(Talker, "talker")
        system.tell(self.root, Start("talker", 1, {}, {}))

    def do(self, verb: str) -> None:
        self.system.tell(self.root, Query(1, verb))

    def read_until(self, end: str) -> str:
        while end not in self._text:
            self._text += os.read(self._reader, 1 << 20).decode()  # pytest-timeout is the bound
        text, self._text = self._text, ""
        return text


@pytest.fixture
def sink(no_orphans: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sink]:
    with tempfile.TemporaryDirectory(prefix="nullbox-") as name:
        fifo = Path(name) / "log"
        os.mkfifo(fifo)
        reader = os.open(fifo, os.O_RDWR)

        monkeypatch.setattr(logs, "destination", lambda: logging.FileHandler(fifo))
        with start_system(Path(name) / "sockets") as system:
            yield Sink(system, reader)
        os.close(reader)


def test_a_record_names_its_actor_its_logger_and_its_level(sink: Sink) -> None:
    sink.do("plain")
    assert f"WARNING {sink.root.name} talker: plain {{}}" in sink.read_until("\n")


def test_what_the_level_does_not_want_is_not_sent(sink: Sink) -> None:
    sink.do("debug")
    assert "not wanted" not in sink.read_until("wanted\n")


def test_a_traceback_comes_along(sink: Sink) -> None:
    sink.do("exception")
    assert "with a traceback\nTraceback" in sink.read_until("RuntimeError: the cause\n")


def test_arguments_that_do_not_fit_are_said_to(sink: Sink) -> None:
    sink.do("wrong")
    assert "'wrong %d %d' with arguments that do not fit it" in sink.read_until("\n")


def test_other_threads_log_too(sink: Sink) -> None:
    sink.do("thread")
    assert "from a thread" in sink.read_until("from a thread\n")


def test_a_text_is_cut_where_it_is_too_long(sink: Sink) -> None:
    sink.do("long")
    assert logs.MAX_TEXT <= len(sink.read_until("x\n")) < logs.MAX_TEXT + 200


def test_a_record_that_cannot_be_encoded_is_lost_and_counted(sink: Sink) -> None:
    sink.do("odd")
    assert "odd" not in sink.read_until("after\n")
    assert sink.system.ask(sink.root, Query(2, "lost"), 5) == Reply(2, 1)
    assert sink.system.ask(sink.root, Ping(1), 5) == Pong(1)

"""The control channel: pure parsing of what a guest may say, and a client over a real Unix socket."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage.control import (
    MAX_LINE,
    RETRY_INTERVAL,
    TERMINATE,
    WELCOME,
    BadGuest,
    ControlClient,
    Hello,
    LineBuffer,
    parse_hello,
)

HELLO = b'{"kernel": "6.12.0", "boot_id": "b-1", "pid": 7}'


def test_a_hello() -> None:
    assert parse_hello(HELLO) == Hello("6.12.0", "b-1", 7)


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"{}",
        b"\xff",
        b"[" * 3000,
        b'{"kernel": "k", "boot_id": "b", "pid": "7"}',
        b'{"kernel": "k", "boot_id": "b", "pid": true}',
        b'{"kernel": "k", "boot_id": "b", "pid": -1}',
        b'{"kernel": "k\\u001b[2J", "boot_id": "b", "pid": 7}',
        b'{"kernel": "", "boot_id": "b", "pid": 7}',
        b'{"kernel": "k", "boot_id": 3, "pid": 7}',
        b'{"pad": "' + b"x" * MAX_LINE + b'"}',
    ],
)
def test_what_is_no_hello(line: bytes) -> None:
    with pytest.raises(BadGuest):
        parse_hello(line)


@given(st.binary(max_size=100))
def test_any_line_is_a_hello_or_a_bad_guest(line: bytes) -> None:
    try:
        hello = parse_hello(line)
    except BadGuest:
        return
    assert hello.kernel.isprintable()


@given(st.lists(st.binary(max_size=20), max_size=10))
def test_lines_are_independent_of_chunks(chunks: list[bytes]) -> None:
    buffer = LineBuffer()
    got = [line for chunk in chunks for line in buffer.feed(chunk)]
    assert got == b"".join(chunks).split(b"\n")[:-1]


def test_a_line_without_end_is_refused() -> None:
    buffer = LineBuffer()
    with pytest.raises(BadGuest, match="more than"):
        list(buffer.feed(b"x" * (MAX_LINE + 1)))


class Launcher:
    """The other end: what libkrun's socket looks like from the host."""

    def __init__(self, path: Path) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen(4)
        self.listener.settimeout(5)

    def accept(self) -> socket.socket:
        connection, _ = self.listener.accept()
        connection.settimeout(5)
        return connection


def test_the_client_tries_until_the_guest_listens(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    now = 100.0
    client = ControlClient(path, clock=lambda: now)
    assert client.step() is None
    assert client.fileno() == -1
    launcher = Launcher(path)
    client.step()
    assert client.fileno() == -1, "too early"
    now += RETRY_INTERVAL
    client.step()
    launcher.accept().close()  # libkrun, while nothing in the guest listens on the port
    assert client.step() is None
    assert client.fileno() == -1
    now += RETRY_INTERVAL
    client.step()
    connection = launcher.accept()
    connection.sendall(HELLO[:10])
    assert client.step() is None
    connection.sendall(HELLO[10:] + b"\n")
    assert client.step() == Hello("6.12.0", "b-1", 7)
    assert client.step() is None
    client.terminate()
    assert [json.loads(line)["op"] for line in connection.recv(100).splitlines()] == ["welcome", "terminate"]
    client.close()


def test_a_terminate_before_the_hello_is_sent_after_it(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    client = ControlClient(path)
    client.terminate()
    launcher = Launcher(path)
    client.step()
    connection = launcher.accept()
    connection.sendall(HELLO + b"\n")
    assert client.step() is not None
    assert connection.recv(100) == WELCOME + TERMINATE


def test_a_guest_that_breaks_the_rules_loses_the_connection(tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    launcher = Launcher(path)
    client = ControlClient(path)
    client.step()
    launcher.accept().sendall(b"nonsense\n")
    with pytest.raises(BadGuest):
        client.step()
    assert client.fileno() == -1


def test_a_socket_of_somebody_else_is_no_guest(tmp_path: Path) -> None:
    """The VMM makes the socket: the path alone does not prove who listens there."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen(8)
        now = 0.0
        client = ControlClient(tmp_path / "s", clock=lambda: now)
        client.owner = os.geteuid() + 1
        assert client.step() is None
        assert client.fileno() == -1
        now += RETRY_INTERVAL
        client.owner = os.geteuid()
        client.step()
        assert client.fileno() >= 0
        client.close()

"""The channel of a sandboxed agent: each of its connections becomes one to ctxgraph, which may come and go."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nullbox.cage.sandbox.relay import MOST, Relay


class Echo(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True


@contextmanager
def echoing(path: Path) -> Iterator[None]:
    path.unlink(missing_ok=True)
    with Server(str(path), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield
        server.shutdown()
        thread.join()


def connect(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(10)
    sock.connect(str(path))
    return sock


def test_bytes_go_both_ways_and_the_far_end_may_be_made_anew(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    relay = Relay(near, far)
    relay.start()
    with connect(near) as nobody:
        assert nobody.recv(10) == b""  # ctxgraph is not there yet
    for _ in range(2):
        with echoing(far), connect(near) as one, connect(near) as two:
            for sock in (one, two):
                sock.sendall(b"hello\n" * 50_000)
            for sock in (one, two):
                with sock.makefile("rb") as answers:
                    assert [answers.readline() for _ in range(50_000)] == [b"HELLO\n"] * 50_000
    assert near.stat().st_mode & 0o777 == 0o666


def test_connections_beyond_the_most_wait(tmp_path: Path) -> None:
    near, far = tmp_path / "near", tmp_path / "far"
    Relay(near, far).start()
    with echoing(far):
        open_ones = [connect(near) for _ in range(MOST)]
        for sock in open_ones:
            sock.sendall(b"a\n")
            assert sock.recv(10) == b"A\n"
        late = connect(near)
        late.sendall(b"late\n")
        late.settimeout(0.2)
        with pytest.raises(TimeoutError):
            late.recv(10)
        open_ones.pop().close()
        late.settimeout(10)
        assert late.recv(10) == b"LATE\n"
        for sock in (*open_ones, late):
            sock.close()

"""The health check that the launcher makes of its agent: answers, and what follows from too many bad ones."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage import guestconfig
from nullbox.cage.manifest import parse
from nullbox.cage.plan import guest_config
from nullbox.guest import launcher, nullbox_health
from nullbox.guest.launcher import UNHEALTHY
from nullbox.guest.nullbox_health import Health, probe

REPOSITORY = Path(__file__).parents[3]


@contextmanager
def answering(*answers: bytes) -> Iterator[int]:
    """A server on the loopback that gives these answers, one a connection; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for answer in answers:
                connection, _ = server.accept()
                with connection:
                    connection.recv(1024)
                    connection.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        thread.join(10)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", None),
        (b"HTTP/1.0 204\r\n\r\n", None),
        (b"HTTP/1.1 302 Found\r\n", None),
        (b"HTTP/1.1 500 Oh\r\n", "status 500"),
        (b"HTTP/1.1 404 No\r\n", "status 404"),
        (b"\x1b[2Jhello\n", r"no HTTP answer but b'\x1b[2Jhello\n'"),
        (b"HTTP/1.1 -1 x\r\n", r"no HTTP answer but b'HTTP/1.1 -1 x\r\n'"),
        (b"", "no HTTP answer but b''"),
        (b"x" * 2000, f"no HTTP answer but {b'x' * 40!a}"),
    ],
)
def test_answers(answer: bytes, said: str | None) -> None:
    with answering(answer) as port:
        assert probe(port, "/health") == said


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert probe(port, "/") == "Connection refused"


def test_a_server_that_never_answers_costs_bounded_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nullbox_health, "PATIENCE", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert probe(server.getsockname()[1], "/") == "timed out"


@given(st.lists(st.booleans(), max_size=30), st.integers(1, 5))
def test_only_failures_in_a_row_count(healthy: list[bool], most: int) -> None:
    now = 0.0
    answers = iter(healthy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nullbox_health, "probe", lambda port, path: None if next(answers) else "down")
        patch.setattr(nullbox_health.time, "monotonic", lambda: now)
        health = Health(80, "/", 10.0, most)
        row = 0
        for answer in healthy:
            assert health.step() is None, "not due yet"
            assert health.left() == 10.0
            now += 10.0
            row = 0 if answer else row + 1
            said = health.step()
            assert (said is not None) == (row >= most)
            if said is not None:
                assert said == f"GET http://127.0.0.1:80/ failed {row} times in a row, last: down"
                return


def test_the_manifests_check_reaches_the_launcher() -> None:
    check = '[capabilities.health_check]\nport = 8080\npath = "/up"\ninterval_secs = 7\nmax_failures = 2'
    text = f'[agent]\nname = "a"\n{check}'
    config = launcher.decode([guestconfig.encode(guest_config(parse(text), None, ()))])
    assert config["health"] == (8080, "/up", 7, 2)


SUPERVISED = """
import _socket, sys
from nullbox.guest import launcher
path, port, *command = sys.argv[1:]
launcher.AGENT_FOLDER = "/"
launcher.LIBRARY = launcher.__file__.rpartition("/")[0]
launcher.WELCOME_SECONDS = 0.0
launcher.GRACE = 0.2
listener = _socket.socket(_socket.AF_UNIX)
listener.bind(path)
listener.listen(1)
config = {"name": "a", "version": "1", "argv": command, "health": (int(port), "/", 0.05, 2)}
health = launcher.load_health(config)
sys.exit(launcher.Supervisor(listener, launcher.Agent(config), health).run())
"""


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(600)",
        "import signal, sys, time; signal.signal(15, lambda *_: sys.exit(0)); time.sleep(600)",
        "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)",
    ],
    ids=["plain", "ends with 0 when asked to", "ignores SIGTERM"],
)
def test_an_agent_that_does_not_answer_is_ended_as_a_failure(tmp_path: Path, program: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    ran = subprocess.run(
        [sys.executable, "-c", SUPERVISED, str(tmp_path / "s"), str(port), sys.executable, "-c", program],
        env={"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == UNHEALTHY
    assert "the agent is not healthy and is ended: GET http://127.0.0.1" in ran.stderr
    assert "2 times in a row, last: Connection refused" in ran.stderr

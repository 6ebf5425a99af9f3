"""A process made of PID 1 has nothing of PID 1's but its memory."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from nullbox.bootstrap import forked


def status_of(main: Callable[[], object], keep: int = 2) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(forked.fork(main, keep), 0)[1])


@pytest.fixture
def report(tmp_path: Path) -> Path:
    return tmp_path / "report"


def test_it_leads_a_session_without_environment_and_descriptors(
    report: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NULLBOX_SECRET", "of PID 1")
    reader, writer = os.pipe()
    others = [os.open(tmp_path, os.O_RDONLY) for _ in range(3)]

    def look() -> None:
        found = {
            "leader": os.getsid(0) == os.getpid(),
            "environment": dict(os.environ),
            "open": [fd for fd in range(3, 200) if is_open(fd)],
        }
        report.write_text(json.dumps(found))

    assert status_of(look, writer) == 0
    for fd in (reader, writer, *others):
        os.close(fd)
    assert json.loads(report.read_text()) == {"leader": True, "environment": {}, "open": [writer]}


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_signals_do_what_they_do_by_default() -> None:
    """A handler of PID 1's would else swallow what is to end it."""
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        assert status_of(lambda: os.kill(os.getpid(), signal.SIGTERM)) == -signal.SIGTERM
    finally:
        signal.signal(signal.SIGTERM, before)


def leave(code: object) -> None:
    raise SystemExit(code)


@pytest.mark.parametrize(("code", "status"), [(None, 0), (0, 0), (75, 75), ("in words", 1)])
def test_its_exit_status_is_that_of_any_program(code: object, status: int) -> None:
    assert status_of(lambda: leave(code)) == status


def test_an_exception_is_shown_and_is_a_failure(capfd: pytest.CaptureFixture[str]) -> None:
    assert status_of(lambda: 1 / 0) == forked.CRASHED
    assert "ZeroDivisionError" in capfd.readouterr().err

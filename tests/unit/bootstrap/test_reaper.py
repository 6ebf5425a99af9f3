"""Reaping, with real processes: the test forks a stand-in for PID 1 whose orphans come to it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
from pathlib import Path

from nullbox.bootstrap.reaper import reap
from nullbox.protocols.exits import read_record

PR_SET_CHILD_SUBREAPER = 36


def in_a_subreaper(directory: Path, scenario: object) -> dict[str, object]:
    """Run `scenario(directory)` in a forked child that adopts orphans; what it returns comes back as JSON."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
            os.write(writer, json.dumps(scenario(directory)).encode())  # type: ignore[operator]
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as result:
        text = result.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def wait_for_exit(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def orphan_that(end: object) -> int:
    """A grandchild whose parent ends at once, so that it comes to us; returns its pid when it has ended."""
    reader, writer = os.pipe()
    gate, keeper = os.pipe()
    middle = os.fork()
    if middle == 0:
        inner = os.fork()
        if inner == 0:
            os.close(keeper)
            os.read(gate, 1)  # end of file once the test lets go: by then the middle process is gone
            end()  # type: ignore[operator]
        os.write(writer, str(inner).encode())
        os._exit(0)
    pid = int(os.read(reader, 16))
    wait_for_exit(middle)
    for fd in (keeper, gate, reader, writer):
        os.close(fd)
    wait_for_exit(pid)
    return pid


def test_an_orphans_exit_code_and_signal_are_recorded(tmp_path: Path) -> None:
    def scenario(directory: Path) -> dict[str, object]:
        plain = orphan_that(lambda: os._exit(3))
        killed = orphan_that(lambda: os.kill(os.getpid(), signal.SIGKILL))
        records = {r.pid: r for r in reap(directory, keep_records_of_others_than=-1)}
        seen = [records[plain].describe(), records[killed].describe()]
        again = read_record(directory, plain, records[plain].start_time)
        return {"seen": seen, "started": records[plain].start_time, "again": again.code if again else None}

    result = in_a_subreaper(tmp_path, scenario)
    assert result["seen"] == ["exited with 3", "killed by SIGKILL"]
    assert result["again"] == 3
    assert int(str(result["started"])) > 0


def test_the_actor_system_itself_leaves_no_record(tmp_path: Path) -> None:
    def scenario(directory: Path) -> dict[str, object]:
        pid = os.fork()
        if pid == 0:
            os._exit(70)
        wait_for_exit(pid)
        records = list(reap(directory, keep_records_of_others_than=pid))
        return {"codes": [r.code for r in records], "files": os.listdir(directory)}

    assert in_a_subreaper(tmp_path, scenario) == {"codes": [70], "files": []}


def test_nothing_to_reap_is_no_error(tmp_path: Path) -> None:
    assert in_a_subreaper(tmp_path, lambda d: {"n": len(list(reap(d, keep_records_of_others_than=0)))}) == {"n": 0}


def test_an_unwritable_record_does_not_stop_the_reaping(tmp_path: Path) -> None:
    def scenario(directory: Path) -> dict[str, object]:
        orphan_that(lambda: os._exit(1))
        return {"codes": sorted(r.code or 0 for r in reap(directory / "missing", keep_records_of_others_than=-1))}

    assert in_a_subreaper(tmp_path, scenario) == {"codes": [0, 1]}

"""The sample agent that runs handed-over programs: the limits of each, and what is recorded."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from nullbox.guest.nullbox_agent import Ctx

Load = Callable[[str], ModuleType]


@pytest.fixture
def sandbox(agent: Load, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """With the system's Python, which `nobody` may use; the one of a virtual environment may lie in a home."""
    module = agent("sandbox")
    if Path("/usr/bin/python3").exists():
        monkeypatch.setattr(module, "PYTHON", "/usr/bin/python3")
    return module


def test_what_a_program_says_is_kept_with_the_program_as_parent(sandbox: ModuleType, operator: Ctx) -> None:
    written = operator.write("sandbox.run.hello", {"code": "import sys; print(6 * 7); sys.exit(3)"})
    sandbox.serve(operator.read(written["hash"]))
    result = operator.latest("sandbox.result.hello")
    assert result is not None
    assert result["parents"] == [written["hash"]]
    found = result["value"]["value"]
    assert (found["outcome"], found["code"], found["stdout"], found["stderr"]) == ("ended", 3, "42\n", "")
    assert found["program_seq"] == written["seq"]


def test_a_program_that_does_not_end_is_ended_with_its_children(sandbox: ModuleType) -> None:
    say = "print(os.getpid(), flush=True)"
    code = f"import os, time\n{say}\nif os.fork() == 0: {say}\ntime.sleep(60)"
    found = sandbox.run(code, 1.0)
    assert found["outcome"] == "out of time"
    assert found["seconds"] < 30
    for pid in map(int, found["stdout"].split()):
        assert gone(pid), "the child is dead too"


def gone(pid: int) -> bool:
    """Dead, or dead and not yet reaped by whoever inherited it; within some seconds."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            with open(f"/proc/{pid}/stat") as stat:
                if stat.read().rpartition(")")[2].split()[0] in "ZX":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        os.sched_yield()
    return False


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("x = bytearray(1 << 30)", "MemoryError"),
        ("open('big', 'wb').write(bytes(64 << 20))", "File too large"),
        ("raise SystemError('own fault')", "own fault"),
    ],
)
def test_a_program_that_wants_too_much_fails_alone(sandbox: ModuleType, code: str, said: str) -> None:
    found = sandbox.run(code, 20.0)
    assert said in found["stderr"]
    assert found["code"] == 1


def test_endless_output_is_cut(sandbox: ModuleType) -> None:
    found = sandbox.run("print('x' * 100_000)", 20.0)
    assert found["stdout"] == "x" * sandbox.OUTPUT + " …"


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(5, 5.0), (0.5, 0.5), (1e9, 60.0), (0, 10.0), (-1, 10.0), ("5", 10.0), (True, 10.0), (None, 10.0)],
)
def test_the_time_is_bounded_whatever_is_asked_for(sandbox: ModuleType, value: Any, seconds: float) -> None:
    assert sandbox.wanted_seconds(value) == seconds


@pytest.mark.parametrize("value", [None, "print(1)", {}, {"code": 7}])
def test_what_is_no_program_is_refused(sandbox: ModuleType, operator: Ctx, value: Any) -> None:
    written = operator.write("sandbox.run.x", value)
    sandbox.serve(operator.read(written["hash"]))
    result = operator.latest("sandbox.result.x")
    assert result is not None
    assert result["value"]["value"]["outcome"] == "refused"


def test_it_has_no_privileges(sandbox: ModuleType) -> None:
    found = sandbox.run("import os; print(os.getuid())", 20.0)
    assert int(found["stdout"]) == (sandbox.NOBODY if os.geteuid() == 0 else os.getuid())

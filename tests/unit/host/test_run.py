"""What `nullbox run` says and waits for, where no machine is needed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from nullbox.cli.nullbox import main
from nullbox.host import run
from nullbox.host.run import HOLD_MARK, MachineError, RunFolder

STATUS = {
    "healthy": True,
    "services": [{"name": "egress", "state": "running"}],
    "agents": [{"name": "pulse", "state": "starting"}, {"name": "reader", "state": "failed"}],
}


def test_an_agent_that_starts_is_waited_for_and_one_that_failed_is_not() -> None:
    assert run.starting(STATUS) == ["pulse"]
    assert run.starting({}) == []


def test_a_status_in_one_line() -> None:
    assert run.describe(STATUS) == "egress running, pulse starting, reader failed"
    assert run.describe({}) == "nothing runs"


def test_a_missing_log_is_no_error(tmp_path: Path) -> None:
    assert "No such file" in run.tail(tmp_path / "log")
    (tmp_path / "log").write_text("\n".join(str(n) for n in range(100)))
    assert run.tail(tmp_path / "log", lines=2) == "  98\n  99"


def test_nothing_runs_in_a_new_folder_and_stopping_it_is_no_error(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked():
        assert run.running(folder) is None
        assert not run.stop(folder, print)


def test_a_machine_that_ended_is_not_waited_for(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.console.write_text("Kernel panic\n")
    with pytest.raises(MachineError, match="has ended; its console's last lines:\n  Kernel panic"):
        run.wait_ready(folder, 10.0)


def test_the_mark_of_the_recovery_hold_is_the_one_that_pid_1_writes() -> None:
    from nullbox.bootstrap.hold import hold_text

    assert any(HOLD_MARK in line for line in hold_text("reason"))


def test_the_command_says_what_is_missing_and_how_to_get_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["run", "--build", str(tmp_path)])
    assert done.exit_code == 1
    assert "bzImage is not there; `make kernel image` builds it" in done.output


def test_help_names_only_what_there_is() -> None:
    done = CliRunner().invoke(main, ["--help"])
    assert done.exit_code == 0
    assert "run" in done.output and "stop" in done.output

"""The host's command: what it lists and what it loads."""

from __future__ import annotations

import subprocess
import sys

from click.testing import CliRunner

from nullbox.cli.nullbox import main


def test_it_lists_and_runs_the_command_that_is_loaded_late() -> None:
    listed = CliRunner().invoke(main, ["--help"])
    assert listed.exit_code == 0 and "chaos" in listed.output and "stop" in listed.output
    described = CliRunner().invoke(main, ["chaos", "--help"])
    assert described.exit_code == 0 and "--seed" in described.output
    assert CliRunner().invoke(main, ["chaos", "--count", "0"]).exit_code == 2
    assert CliRunner().invoke(main, ["nonsense"]).exit_code == 2


def test_other_commands_do_not_load_it() -> None:
    code = (
        "import sys; from nullbox.cli.nullbox import main;"
        "main(['stop', '--help'], standalone_mode=False); print('nullbox.chaos' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "False"

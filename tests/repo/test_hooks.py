"""What pre-commit runs is what a developer has: every tool is in the virtual environment, every path is there."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import yaml
from doc_commands import ROOT


def test_every_hook_runs_a_tool_of_the_virtual_environment_on_paths_that_exist() -> None:
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    (local,) = config["repos"]
    assert local["repo"] == "local"
    for hook in local["hooks"]:
        program, *arguments = shlex.split(hook["entry"])
        assert hook["language"] == "system"
        assert program.startswith("build/venv/bin/")
        assert (Path(sys.executable).parent / Path(program).name).exists(), program
        assert all((ROOT / word).exists() for word in arguments if word.startswith("tests/")), hook["id"]

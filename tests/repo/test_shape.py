"""The shape of the repository: small modules, docstrings that say what a module is, pinned dependencies."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("nullbox", "pykrun", "kernel", "image")
MOST_LINES = 400
"""About 300 is the aim; past this a module holds two concepts."""


def modules() -> list[Path]:
    return sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py"))


def test_there_are_modules_to_look_at() -> None:
    assert len(modules()) > 50


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_a_module_is_short_and_says_what_it_is(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= MOST_LINES
    if text.strip():
        assert ast.get_docstring(ast.parse(text)), "no module docstring"


def test_every_dependency_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["dependencies"] + [d for group in project["optional-dependencies"].values() for d in group]
    assert [d for d in wanted if not re.fullmatch(r"[A-Za-z0-9_.\[\]-]+==[0-9][^ ;]*(;.*)?", d)] == []


def test_nothing_tracked_is_large_or_built() -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout.split(b"\0")
    paths = [ROOT / f.decode() for f in files if f]
    assert [str(p) for p in paths if p.is_file() and p.stat().st_size > 1_000_000] == []
    assert [str(p) for p in paths if p.suffix in {".so", ".squashfs", ".pyc", ".o"}] == []


def test_the_readme_names_the_two_commands() -> None:
    readme = (ROOT / "README.md").read_text()
    assert "make run" in readme
    assert "make test" in readme

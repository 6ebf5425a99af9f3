"""Every manifest that the project ships or boots in tests is valid."""

from __future__ import annotations

from pathlib import Path

import pytest

from nullbox.cage.manifest import parse

ROOT = Path(__file__).parents[3]
MANIFESTS = sorted([*ROOT.glob("agents/*/AGENT.toml"), *ROOT.glob("tests/boot/agents/*/AGENT.toml")])


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.parent.name)
def test_the_manifest_is_valid_and_its_program_is_there(path: Path) -> None:
    manifest = parse(path.read_bytes())
    assert manifest.name == path.parent.name
    assert (path.parent / manifest.entrypoint[0]).is_file()

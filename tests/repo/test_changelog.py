"""News fragments have names that the release understands, and say something."""

from __future__ import annotations

import re
import tomllib

from doc_commands import ROOT

FRAGMENT = re.compile(r"\+[a-z0-9-]+\.(?P<kind>[a-z]+)\.md")


def test_fragments_are_named_and_written_as_their_readme_says() -> None:
    kinds = {
        each["directory"] for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]
    }
    for path in (ROOT / "changelog.d").iterdir():
        if path.name == "README.md":
            continue
        match = FRAGMENT.fullmatch(path.name)
        assert match, f"{path.name}: allowed: +WHAT.KIND.md"
        assert match["kind"] in kinds, f"{path.name}: allowed: {sorted(kinds)}"
        assert path.read_text().strip().endswith("."), f"{path.name}: a sentence"


def test_the_readme_names_every_kind() -> None:
    text = (ROOT / "changelog.d" / "README.md").read_text()
    for each in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]["type"]:
        assert f"`{each['directory']}`" in text

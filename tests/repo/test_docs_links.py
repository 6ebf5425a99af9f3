"""Every relative link and anchor in the documents leads somewhere; every page can be reached; named paths exist."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from doc_commands import ROOT, blocks, pages

LINK = re.compile(r"!?\[(?:[^\]\\]|\\.)*\]\((?P<target>[^)\s]+)\)")
HEADING = re.compile(r"^#{1,6}\s+(?P<title>.+?)\s*#*$")
NAMED_PATH = re.compile(r"`((?:nullbox|pykrun|kernel|image|agents|tests|docs|bench)/[\w./*-]+?)/?(?:::(\w+))?`")


def prose(text: str) -> str:
    """A document without its fenced blocks."""
    lines = text.splitlines()
    for block in blocks(text):
        for number in range(block.line - 2, block.line + len(block.lines)):
            lines[number] = ""
    return "\n".join(lines)


def slug(title: str) -> str:
    """The anchor that GitHub, and MyST with `myst_heading_anchors`, give a heading."""
    plain = re.sub(r"[`*]|!?\[([^\]]*)\]\([^)]*\)", r"\1", title)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    found: set[str] = set()
    for line in prose(page.read_text()).splitlines():
        if match := HEADING.match(line):
            base, count = slug(match["title"]), 0
            while (name := f"{base}-{count}" if count else base) in found:
                count += 1
            found.add(name)
    return found


def links(page: Path) -> Iterator[str]:
    for match in LINK.finditer(re.sub(r"`[^`\n]*`", "", prose(page.read_text()))):
        yield match["target"]


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in links(page):
        if re.match(r"https?://", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{page.name}: {target}"
        assert place.is_relative_to(ROOT), f"{page.name}: {target} leads out of the repository"
        if anchor:
            assert anchor in anchors(place), f"{page.name}: {target}; there are {sorted(anchors(place))}"


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_paths_that_a_document_names_are_there(page: Path) -> None:
    for path, name in NAMED_PATH.findall(prose(page.read_text())):
        found = list(ROOT.glob(path)) if "*" in path else [ROOT / path]
        assert found, f"{page.name} names {path}"
        assert all(each.exists() for each in found), f"{page.name} names {path}"
        if name:
            assert f"def {name}(" in found[0].read_text(), f"{page.name} names {path}::{name}"


def test_every_page_of_the_site_can_be_reached_from_its_index() -> None:
    docs = ROOT / "docs"
    seen, todo = set(), [docs / "index.md"]
    while todo:
        page = todo.pop()
        if page in seen:
            continue
        seen.add(page)
        for target in links(page):
            place = (page.parent / target.partition("#")[0]).resolve()
            if place.suffix == ".md" and place.is_relative_to(docs):
                todo.append(place)
    assert set(docs.rglob("*.md")) - seen == set()


def test_every_page_is_in_the_sites_table_of_contents() -> None:
    """Sphinx wants it, and its build is not part of every run."""
    docs = ROOT / "docs"
    listed = {docs / "index.md", *(docs / "design").glob("*.md")}  # that folder's index takes whatever is there
    for block in blocks((docs / "index.md").read_text()):
        if block.info == "{toctree}":
            listed |= {docs / f"{line}.md" for line in block.lines if line and not line.startswith(":")}
    assert set(docs.rglob("*.md")) == listed


def test_the_slugs_are_those_of_the_web() -> None:
    assert slug("What `denied` says in `what`") == "what-denied-says-in-what"
    assert slug("Back up, and check") == "back-up-and-check"


def test_the_pictures_are_what_their_script_draws() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import diagrams
    finally:
        sys.path.remove(str(ROOT / "docs"))
    for name, text in diagrams.PICTURES.items():
        assert (ROOT / "docs" / "images" / f"{name}.svg").read_text() == text, "python docs/diagrams.py draws them anew"

"""Configuration of Sphinx (https://www.sphinx-doc.org): `make docs` builds the site into build/docs."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

project = "NullBox"
author = "The NullBox authors"
copyright = "the NullBox authors"
html_title = "NullBox"
html_theme = "furo"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["*.py"]

myst_heading_anchors = 4
suppress_warnings = ["myst.strikethrough"]

autodoc_typehints = "description"
autodoc_default_options = {"exclude-members": "__init__, __new__"}

html_show_sphinx = False
html_copy_source = False

default_role = "code"
SECTIONS = ("Args:", "Raises:", "Returns:", "Yields:")


def prepared(lines: Iterable[str]) -> list[str]:
    """A docstring of ours for reStructuredText: an example is an indented block after an empty line, and what hangs
    below a parameter belongs to its line."""
    found: list[str] = []
    section = False
    for line in lines:
        indented = line.startswith(" ")
        if line.strip() and not indented:
            section = line in SECTIONS
        if indented and not section and found and found[-1].strip():
            if found[-1].startswith(" "):
                found.append(line)
            else:
                found[-1] += " " + line.strip()
        elif indented and not section and len(found) > 1 and not found[-1] and not found[-2].startswith(" "):
            found[-2] = found[-2].removesuffix(":") + "::"
            found.append(line)
        else:
            found.append(line)
    return found


def prepare(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    lines[:] = prepared(lines)


def setup(app: Any) -> None:
    # Before napoleon (500) takes the sections apart.
    app.connect("autodoc-process-docstring", prepare, priority=400)

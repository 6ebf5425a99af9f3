"""Data to text: tables, trees, JSON, YAML, names. Pure: returns text, prints nothing.

Whatever came from outside passes `safe` before it meets a terminal: a guest or a peer chooses the text, and a
terminal obeys control characters.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nullbox.cli.safe import UNSAFE
from nullbox.cli.safe import safe as safe

Row = Mapping[str, Any]


def to_json(value: Any, *, line: bool = False) -> str:
    """JSON with the order of the answer. Indented, or one line for JSON Lines. Characters as they are if harmless."""
    if line:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    else:
        text = json.dumps(value, ensure_ascii=False, indent=2)
    # Inside a JSON text these stand in strings only; the newlines of the indent are the one exception.
    return re.sub(r"[^\n\x20-\x7e\xa0-\uffff]|" + UNSAFE.pattern.replace(r"\x00-\x1f", ""), _json_escape, text)


def _json_escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    return match[0] if code > 0xFFFF else f"\\u{code:04x}"


def to_yaml(value: Any) -> str:
    """YAML 1.1 without a trailing newline."""
    import yaml

    text: str = yaml.safe_dump(value, sort_keys=False, allow_unicode=False, default_flow_style=False)
    return text.removesuffix("\n")


@dataclass(frozen=True, slots=True)
class Column:
    """One column. `show` makes the cell's text from the row; numbers look better on the right."""

    title: str
    show: Callable[[Row], str]
    right: bool = False


def table(columns: Sequence[Column], rows: Iterable[Row]) -> str:
    """Plain columns, two spaces apart, titles above. Fit for people and for awk."""
    cells = [[column.title for column in columns]]
    cells += [[safe(column.show(row)) for column in columns] for row in rows]
    widths = [max(width(line[index]) for line in cells) for index in range(len(columns))]
    return "\n".join(
        "  ".join(
            pad(cell, widths[index], right=column.right)
            for index, (cell, column) in enumerate(zip(line, columns, strict=True))
        ).rstrip()
        for line in cells
    )


def width(text: str) -> int:
    """Columns that a terminal needs: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def pad(text: str, to: int, *, right: bool = False) -> str:
    space = " " * (to - width(text))
    return space + text if right else text + space


def cut(text: str, most: int) -> str:
    """The text, or its beginning and `…`."""
    return text if len(text) <= most else text[: most - 1] + "…"


def outline(value: Any, indent: int = 0) -> str:
    """Nested data as indented `key: value` lines, for one thing that is looked at closely."""
    space = "  " * indent
    lines: list[str] = []
    if isinstance(value, Mapping):
        for key, inner in value.items():
            name = safe(str(key))
            if isinstance(inner, Mapping | list) and inner:
                lines += [f"{space}{name}:", outline(inner, indent + 1)]
            else:
                lines.append(f"{space}{name}: {scalar(inner)}")
    elif isinstance(value, list):
        for inner in value:
            if isinstance(inner, Mapping | list) and inner:
                text = outline(inner, indent + 1)
                lines.append(f"{space}- {text.lstrip()}")
            else:
                lines.append(f"{space}- {scalar(inner)}")
    else:
        lines.append(space + scalar(value))
    return "\n".join(lines)


def scalar(value: Any) -> str:
    """One value on one line: `-` for nothing, yes and no for booleans."""
    if value is None or value == "" or value == {} or value == []:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return safe(str(value))


def branches(nodes: Sequence[Row], *, ascii_only: bool = False) -> list[tuple[str, Row]]:
    """Nodes with an `id` and a `parent` as the lines of a tree: what to draw before the name, and the node.

    Roots are nodes whose parent is not there. Order is kept among siblings.
    """
    middle, end, bar, blank = ("|- ", "`- ", "|  ", "   ") if ascii_only else ("├─ ", "└─ ", "│  ", "   ")
    ids = {node["id"] for node in nodes}
    children: dict[Any, list[Row]] = {}
    for node in nodes:
        parent = node["parent"] if node["parent"] in ids and node["parent"] != node["id"] else None
        children.setdefault(parent, []).append(node)
    drawn: list[tuple[str, Row]] = []

    def draw(siblings: list[Row], before: str, *, top: bool) -> None:
        for index, node in enumerate(siblings):
            last = index == len(siblings) - 1
            drawn.append(("" if top else before + (end if last else middle), node))
            draw(children.get(node["id"], []), "" if top else before + (blank if last else bar), top=False)

    draw(children.get(None, []), "", top=True)
    return drawn

"""Text for terminals: aligned, complete, and harmless whatever is in the data."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cli import durations, render, tables

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FORBIDDEN = {*map(chr, range(32)), *map(chr, range(0x7F, 0xA0)), "\u202e", "\u2028", "\u2066"}


@given(values)
def test_json_says_the_same_and_holds_no_control_character(value: Any) -> None:
    for line in (True, False):
        text = render.to_json(value, line=line)
        assert json.loads(text) == value
        assert not FORBIDDEN & set(text) - {"\n"}
        assert not line or "\n" not in text
        text.encode()


@given(values.filter(lambda value: "\ud800" not in repr(value)))
def test_yaml_says_the_same(value: Any) -> None:
    assert yaml.safe_load(render.to_yaml(value)) == value


@given(st.text(alphabet=st.characters()))
def test_safe_leaves_nothing_for_a_terminal_to_obey(text: str) -> None:
    shown = render.safe(text)
    assert not FORBIDDEN & set(shown)
    shown.encode()


@given(st.lists(st.tuples(st.text(max_size=12), st.integers(0, 10**6)), max_size=6))
def test_columns_line_up(rows: list[tuple[str, int]]) -> None:
    columns = (
        render.Column("NAME", lambda row: row["a"]),
        render.Column("N", lambda row: str(row["b"]), right=True),
        render.Column("END", lambda row: "|"),
    )
    lines = render.table(columns, [{"a": a, "b": b} for a, b in rows]).splitlines()
    assert len(lines) == len(rows) + 1
    ends = {
        render.width(line.rstrip("|")) if index else render.width(line[: line.index("END")])
        for index, line in enumerate(lines)
    }
    assert len(ends) == 1


@given(values)
def test_an_outline_of_anything_is_lines_of_text(value: Any) -> None:
    assert not FORBIDDEN & set(render.outline(value)) - {"\n"}


def test_a_tree_is_drawn() -> None:
    nodes = [
        {"id": "a", "parent": None},
        {"id": "b", "parent": "a"},
        {"id": "c", "parent": "b"},
        {"id": "d", "parent": "a"},
        {"id": "lost", "parent": "gone"},
        {"id": "self", "parent": "self"},
    ]
    drawn = [before + node["id"] for before, node in render.branches(nodes)]
    assert drawn == ["a", "├─ b", "│  └─ c", "└─ d", "lost", "self"]
    assert render.branches(nodes, ascii_only=True)[2][0] == "|  `- "


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("30s", 30), ("1h30m", 5400), ("2d", 172800), ("50ms", 0.05)]
)
def test_durations_are_read(text: str, seconds: float) -> None:
    assert durations.parse(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "soon", "5 parsecs", "-5", "s", "1h?"])
def test_other_texts_are_no_durations(text: str) -> None:
    with pytest.raises(ValueError, match="write 90, 30s"):
        durations.parse(text)


def test_durations_are_shown_short() -> None:
    shown = [durations.short(each) for each in (None, 3.21, 59, 125, 15_000, 266_400)]
    assert shown == ["-", "3.2s", "59s", "2m05s", "4h10m", "3d02h"]


def test_states_say_what_they_wait_for() -> None:
    assert tables.state({"state": "backoff", "next_restart_in_s": 3.9}) == "backoff 3.9s"
    assert tables.state({"state": "starting", "waiting_for": ["egress"]}) == "starting (waits for egress)"
    row = {"last_exit": {"kind": "failed", "code": 3, "detail": "agent exited with 3"}}
    assert tables.last_exit(row) == "failed (3): agent exited with 3"

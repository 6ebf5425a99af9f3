"""A number for every agent's name: its own, and always the same."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.cage.users import COUNT, DATA_GROUP, FIRST, Users, assign
from nullbox.protocols.errors import ErrorCode, NullBoxError


@given(st.lists(st.from_regex(r"[a-z][a-z0-9-]{0,7}", fullmatch=True)))
def test_names_have_numbers_of_their_own_which_never_change(names: list[str]) -> None:
    known: dict[str, int] = {}
    for name in names:
        known.setdefault(name, assign(known, name))
        assert assign(known, name) == known[name]
    assert len(set(known.values())) == len(known)
    assert all(FIRST <= number < FIRST + COUNT for number in known.values())
    assert DATA_GROUP not in known.values()


def test_the_last_number_is_the_last() -> None:
    with pytest.raises(NullBoxError) as caught:
        assign({"a": FIRST + COUNT - 1}, "b")
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert assign({"a": FIRST + COUNT - 1}, "a") == FIRST + COUNT - 1


def test_numbers_outlive_the_process_that_gave_them(tmp_path: Path) -> None:
    first = Users(tmp_path / "users.json").uid("a")
    assert Users(tmp_path / "users.json").uid("b") == first + 1
    assert Users(tmp_path / "users.json").uid("a") == first


def test_agents_that_start_at_once_get_different_numbers(tmp_path: Path) -> None:
    names = [f"a{number}" for number in range(20)]
    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(lambda name: Users(tmp_path / "users.json").uid(name), names))
    assert len(set(numbers)) == len(names)
    assert json.loads((tmp_path / "users.json").read_text()) == dict(zip(names, numbers, strict=True))


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"a": "x"}', '{"a": 0}', f'{{"a": {FIRST}, "b": {FIRST}}}', f'{{"a": {DATA_GROUP}}}', "\udcff"],
)
def test_a_file_that_is_not_ours_gives_nobody_a_number(tmp_path: Path, text: str) -> None:
    path = tmp_path / "users.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(NullBoxError, match="restore the file") as caught:
        Users(path).uid("a")
    assert caught.value.code is ErrorCode.UNAVAILABLE
    assert path.read_bytes() == text.encode(errors="surrogateescape")

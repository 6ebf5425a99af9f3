"""The hash rule and what keys, hashes and envelopes may be."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import (
    MAX_KEY,
    Entry,
    Kind,
    check_agent_id,
    check_key,
    check_prefix,
    entry_hash,
    entry_text,
    envelop,
    parents_of,
    parse_hash,
)
from nullbox.protocols.errors import ErrorCode, NullBoxError

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=10)


def test_the_hash_is_that_of_the_contract() -> None:
    by_hand = hashlib.sha256(b"pulse" + b"\x00" + b"pulse.n" + b"\x00" + b'{"n":1}').digest()
    assert entry_hash("pulse", "pulse.n", b'{"n":1}') == by_hand


@given(names, names, st.binary(max_size=10), names, names, st.binary(max_size=10))
def test_no_two_triples_share_a_concatenation(a: str, k: str, v: bytes, b: str, j: str, w: bytes) -> None:
    if (a, k, v) != (b, j, w):
        assert entry_hash(a, k, v) != entry_hash(b, j, w)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "0 bytes"),
        ("a\0b", "NUL"),
        ("k" * (MAX_KEY + 1), "513 bytes"),
        ("é" * 257, "514 bytes"),
        ("\ud800", "surrogate"),
        (7, "int"),
        (None, "NoneType"),
    ],
)
def test_keys_that_are_refused(key: Any, reason: str) -> None:
    with pytest.raises(NullBoxError, match=reason) as raised:
        check_key(key)
    assert raised.value.code is ErrorCode.INVALID


def test_keys_and_prefixes_that_are_taken() -> None:
    assert check_key("é" * 256) == "é" * 256
    assert check_prefix("") == ""
    with pytest.raises(NullBoxError, match="agent_id"):
        check_agent_id("a" * 65)


@pytest.mark.parametrize("text", ["", "ab", "A" * 64, "g" * 64, "0" * 63 + "\n", "0" * 65, 5, None])
def test_a_hash_is_64_lower_case_hex_digits(text: Any) -> None:
    with pytest.raises(NullBoxError, match="64 lower-case"):
        parse_hash(text)
    assert parse_hash("0f" * 32) == b"\x0f" * 32


def test_an_envelope_names_its_parents() -> None:
    parents = ["0" * 64, "1" * 64]
    assert parents_of(envelop({"x": 1}, parents)) == parents
    assert parents_of({"parents": parents}) == []
    assert parents_of([1]) == []


@pytest.mark.parametrize(
    "value",
    [
        {"$ctxgraph": 2, "parents": [], "value": 1},
        {"$ctxgraph": True, "parents": [], "value": 1},
        {"$ctxgraph": 1, "parents": []},
        {"$ctxgraph": 1, "parents": [], "value": 1, "more": 1},
        {"$ctxgraph": 1, "parents": "x", "value": 1},
        {"$ctxgraph": 1, "parents": ["x"], "value": 1},
        {"$ctxgraph": 1, "parents": ["0" * 64] * 2, "value": 1},
        {"$ctxgraph": 1, "parents": [f"{n:064x}" for n in range(65)], "value": 1},
    ],
)
def test_what_looks_like_an_envelope_must_be_one(value: Any) -> None:
    with pytest.raises(NullBoxError) as raised:
        parents_of(value)
    assert raised.value.code is ErrorCode.INVALID


def test_json_leaves_out_what_says_nothing() -> None:
    plain = Entry(b"\1" * 32, "a", "k", "1", 3, 4)
    assert plain.to_json() == {
        "hash": "01" * 32,
        "agent_id": "a",
        "key": "k",
        "value": 1,
        "seq": 3,
        "ts_ns": 4,
    }
    gone = Entry(b"\1" * 32, "a", "k", None, 3, 4, Kind.ERASE, 9)
    assert {"event": "erase", "erased": True, "expires_ns": 9, "value": None}.items() <= gone.to_json().items()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(-1e6, 1e6) | names | st.just(""),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
hashes = st.binary(min_size=32, max_size=32)


@given(
    hashes,
    names,
    names,
    st.none() | json_values | st.builds(envelop, json_values, st.lists(hashes.map(bytes.hex), max_size=3, unique=True)),
    st.integers(1, 2**62),
    st.sampled_from(Kind),
    st.sampled_from((0, 9)),
    st.booleans(),
)
def test_the_text_of_an_entry_is_what_clients_get_as_json(
    hash: bytes, agent: str, key: str, value: Any, seq: int, kind: Kind, expires_ns: int, erased: bool
) -> None:
    text = None if erased else canonical(value).decode()
    entry = Entry(hash, agent, key, text, seq, seq + 1, kind, expires_ns)
    line = entry_text(entry)
    assert b"\n" not in line
    assert json.loads(line) == entry.to_json()

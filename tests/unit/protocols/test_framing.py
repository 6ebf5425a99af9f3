"""The line splitter against the plainest possible model: split the whole stream at once."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.protocols.framing import LineSplitter, TooLong

LIMIT = 8


def in_pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(stream) + 1) for cut in cuts), len(stream)]
    return [stream[a:b] for a, b in itertools.pairwise(edges)]


def model(stream: bytes) -> list[bytes | TooLong]:
    *ended, rest = stream.split(b"\n")
    lines: list[bytes | TooLong] = []
    for line in ended:
        text = line[:-1] if line.endswith(b"\r") else line
        if len(text) > LIMIT:
            lines.append(TooLong(LIMIT))
        elif text:
            lines.append(text)
    if len(rest) > LIMIT + rest.endswith(b"\r"):
        lines.append(TooLong(LIMIT))
    return lines


@given(st.text("ab\r\n", max_size=80), st.lists(st.integers(0, 200), max_size=12))
def test_lines_do_not_depend_on_the_pieces(text: str, cuts: list[int]) -> None:
    stream = text.encode()
    splitter = LineSplitter(LIMIT)
    got = [line for piece in in_pieces(stream, cuts) for line in splitter.feed(piece)]
    assert got == model(stream)


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=12))
def test_memory_is_bounded(stream: bytes, cuts: list[int]) -> None:
    splitter = LineSplitter(LIMIT)
    for piece in in_pieces(stream, cuts):
        splitter.feed(piece)
        assert splitter.pending <= LIMIT + 1


def test_a_long_line_is_reported_once_and_the_next_is_read() -> None:
    splitter = LineSplitter(LIMIT)
    assert splitter.feed(b"123456789") == [TooLong(LIMIT)]
    assert splitter.feed(b"and more of it") == []
    assert splitter.pending == 1
    assert splitter.feed(b"\nnext\n") == [b"next"]
    assert splitter.pending == 0


def test_a_line_of_exactly_the_limit_passes_with_either_ending() -> None:
    splitter = LineSplitter(LIMIT)
    assert splitter.feed(b"12345678\n12345678\r\n") == [b"12345678", b"12345678"]
    assert splitter.feed(b"12345678\r") == []
    assert splitter.feed(b"\n") == [b"12345678"]


def test_an_empty_line_cuts_off_a_half_line() -> None:
    splitter = LineSplitter(LIMIT)
    splitter.feed(b'{"half')
    assert splitter.feed(b"\nwhole\n") == [b'{"half', b"whole"]


def test_reset_forgets_the_half_line() -> None:
    splitter = LineSplitter(LIMIT)
    splitter.feed(b"half")
    splitter.reset()
    assert splitter.feed(b"whole\n") == [b"whole"]


def test_a_limit_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="1 or more"):
        LineSplitter(0)

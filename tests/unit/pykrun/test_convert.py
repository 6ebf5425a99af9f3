"""Arguments are checked before the library sees them."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pykrun import convert
from pykrun.abi import row

ONE_OF_EACH = row(
    "krun_x", "ctx:ctx n:u8 f:fd yes:bool name:str other:str? list:strs mac:mac blob:bytes p:pointer", "X."
)
GOOD: tuple[Any, ...] = (0, 255, -1, True, "a", None, ["b", "c"], "5a:94:ef:00:00:01", b"xy", None)


def test_good_values_become_c_objects() -> None:
    values = convert.arguments(ONE_OF_EACH, GOOD)
    assert values[1].value == 255
    assert values[2].value == -1
    assert values[4] == b"a"
    assert values[5] is None
    assert list(values[6]) == [b"b", b"c", None]
    assert bytes(values[7]) == bytes.fromhex("5a94ef000001")
    assert bytes(values[8]) == b"xy"


@pytest.mark.parametrize(
    ("index", "value", "error", "words"),
    [
        (1, 256, ValueError, "from 0 to 255"),
        (1, -1, ValueError, "from 0 to 255"),
        (1, True, TypeError, "is a number"),
        (1, "1", TypeError, "is a number"),
        (3, 1, TypeError, "True or False"),
        (4, None, TypeError, "is a text"),
        (4, "a\0b", ValueError, "NUL"),
        (4, "\ud800", ValueError, "UTF-8"),
        (6, "abc", TypeError, "sequence of texts"),
        (6, ["a", 1], TypeError, "is a text"),
        (6, ["a"] * 4096, ValueError, "4095"),
        (7, "5a:94:ef:00:00", ValueError, "aa:bb:cc:dd:ee:ff"),
        (7, b"12345", ValueError, "6 bytes"),
        (7, 5, TypeError, "MAC address"),
        (8, "text", TypeError, "bytes"),
    ],
)
def test_a_wrong_value_is_named(index: int, value: Any, error: type[Exception], words: str) -> None:
    values = [*GOOD[:index], value, *GOOD[index + 1 :]]
    with pytest.raises(error, match=words) as caught:
        convert.arguments(ONE_OF_EACH, tuple(values))
    assert ONE_OF_EACH.arguments[index].name in str(caught.value)


def test_the_number_of_arguments_is_checked() -> None:
    with pytest.raises(TypeError, match="takes 10 arguments, not 1"):
        convert.arguments(ONE_OF_EACH, (0,))


@given(st.integers())
def test_a_number_goes_through_unchanged_or_not_at_all(number: int) -> None:
    function = row("krun_x", "n:u32", "X.")
    try:
        [value] = convert.arguments(function, (number,))
    except ValueError:
        assert not 0 <= number <= 2**32 - 1
    else:
        assert isinstance(value, ctypes.c_uint32)
        assert value.value == number

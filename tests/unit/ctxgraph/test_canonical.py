"""The canonical text: RFC 8785's own examples, the fast path against the package, and every refusal."""

from __future__ import annotations

import json
import math
import struct

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from nullbox.ctxgraph.canonical import MAX_DEPTH, MAX_INTEGER, MAX_VALUE, canonical
from nullbox.protocols.errors import ErrorCode, NullBoxError

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
integers = st.integers(-MAX_INTEGER, MAX_INTEGER)
floats = st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(
    st.none() | st.booleans() | integers | floats | texts,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5),
    max_leaves=20,
)

# RFC 8785 appendix B: IEEE 754 bits and their text.
NUMBERS = [
    ("0000000000000000", "0"),
    ("8000000000000000", "0"),
    ("0000000000000001", "5e-324"),
    ("8000000000000001", "-5e-324"),
    ("7fefffffffffffff", "1.7976931348623157e+308"),
    ("ffefffffffffffff", "-1.7976931348623157e+308"),
    ("4340000000000000", "9007199254740992"),
    ("c340000000000000", "-9007199254740992"),
    ("4430000000000000", "295147905179352830000"),
    ("44b52d02c7e14af5", "9.999999999999997e+22"),
    ("44b52d02c7e14af6", "1e+23"),
    ("44b52d02c7e14af7", "1.0000000000000001e+23"),
    ("444b1ae4d6e2ef4e", "999999999999999700000"),
    ("444b1ae4d6e2ef4f", "999999999999999900000"),
    ("444b1ae4d6e2ef50", "1e+21"),
    ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
    ("3eb0c6f7a0b5ed8d", "0.000001"),
    ("41b3de4355555553", "333333333.3333332"),
    ("41b3de4355555554", "333333333.33333325"),
    ("41b3de4355555555", "333333333.3333333"),
    ("41b3de4355555556", "333333333.3333334"),
    ("41b3de4355555557", "333333333.33333343"),
    ("becbf647612f3696", "-0.0000033333333333333333"),
    ("43143ff3c1cb0959", "1424953923781206.2"),
]


@pytest.mark.parametrize(("bits", "text"), NUMBERS)
def test_the_numbers_of_rfc_8785_appendix_b(bits: str, text: str) -> None:
    number = struct.unpack(">d", bytes.fromhex(bits))[0]
    assert rfc8785.dumps(number) == text.encode()
    if MAX_INTEGER < abs(number) < 1e21:
        with pytest.raises(NullBoxError, match="no exponent"):
            canonical(number)
    else:
        assert canonical(number) == text.encode()


def test_the_sample_of_rfc_8785_section_3_2_2() -> None:
    sample = {
        "numbers": [333333333.33333329, 1e30, 4.50, 2e-3, 0.000000000000000000000000001],
        "string": "\u20ac$\u000f\u000aA'\u0042\u0022\u005c\\\"/",
        "literals": [None, True, False],
    }
    expected = (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )
    assert canonical(sample) == expected.encode()


def test_member_names_sort_by_utf16_code_units() -> None:
    # RFC 8785 section 3.2.3: the emoji's first surrogate sorts before U+FB33.
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    ordered = list(json.loads(canonical(dict.fromkeys(names, 1))))
    assert ordered == ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]


@given(values)
def test_the_fast_path_writes_what_the_package_writes(value: object) -> None:
    try:
        text = canonical(value)
    except NullBoxError as error:
        assert "no exponent" in error.message
        return
    assert text == rfc8785.dumps(value)  # type: ignore[arg-type]
    assert canonical(json.loads(text)) == text, "what is read back must hash to the same address"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (2**53, "beyond"),
        (-(2**53), "beyond"),
        (10**400, "1329 bits"),
        ({"a": [1, {"b": 2**53}]}, r"\$\.a\[1\]\.b"),
        (math.nan, "nan is not a JSON number"),
        ([math.inf], r"\$\[0\]: inf"),
        ("\ud800", "lone surrogate"),
        ({"\udfff": 1.5}, "surrogate|canonical form"),
        ({1: 2}, "member names are texts"),
        (b"bytes", "bytes is not a JSON type"),
        (1e20, "no exponent"),
    ],
)
def test_what_json_readers_would_not_agree_on_is_refused(value: object, reason: str) -> None:
    with pytest.raises(NullBoxError, match=reason) as raised:
        canonical(value)
    assert raised.value.code is ErrorCode.INVALID


def test_limits_are_inclusive() -> None:
    assert len(canonical("x" * (MAX_VALUE - 2))) == MAX_VALUE
    with pytest.raises(NullBoxError, match=str(MAX_VALUE + 1)) as raised:
        canonical("x" * (MAX_VALUE - 1))
    assert raised.value.code is ErrorCode.TOO_LARGE

    deep: object = 1
    for _ in range(MAX_DEPTH):
        deep = [deep]
    canonical(deep)
    with pytest.raises(NullBoxError, match="deeper"):
        canonical([deep])

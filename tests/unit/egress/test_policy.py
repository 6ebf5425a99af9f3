from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress.policy import Grant, normalise, parse_grant, parse_policy
from nullbox.protocols.errors import ErrorCode, NullBoxError

labels = st.from_regex(r"\A[a-z]([a-z0-9-]{0,10}[a-z0-9])?\Z")


@pytest.mark.parametrize(
    ("text", "grant"),
    [
        ("api.openai.com", Grant("api.openai.com", 443)),
        ("API.OpenAI.com.", Grant("api.openai.com", 443)),
        ("*.example.com:8443", Grant("*.example.com", 8443)),
        ("_dmarc.example.com:1", Grant("_dmarc.example.com", 1)),
        ("xn--bcher-kva.example:65535", Grant("xn--bcher-kva.example", 65535)),
    ],
)
def test_reading_a_grant(text: str, grant: Grant) -> None:
    assert parse_grant(text) == grant
    assert parse_grant(grant.text) == grant


@pytest.mark.parametrize(
    "text",
    [
        "", "*", "*.com", "com", "a.*.com", "*a.com", "**.a.com", "a..com", ".a.com", "-a.com", "a-.com",
        "a.com:", "a.com:0", "a.com:65536", "a.com:http", "a.com:١", "1.2.3.4", "1.2.3.4:443", "127.1", "2130706433",
        "0x7f.1", "a.0x7f000001", "[::1]:443", "::1", "bücher.example", "a b.com", "a.com/x", "https://a.com",
        "x" * 64 + ".com", ".".join(["abcdefgh"] * 40), "a.com\n:443\x00",
    ],
)  # fmt: skip
def test_what_is_no_grant(text: str) -> None:
    with pytest.raises(NullBoxError) as caught:
        parse_grant(text)
    assert caught.value.code is ErrorCode.INVALID
    assert repr(text) in caught.value.message


@given(labels, labels, labels)
def test_a_star_is_exactly_one_label(one: str, two: str, three: str) -> None:
    grant = Grant(f"*.{two}.example")
    assert grant.covers_name(f"{one}.{two}.example")
    assert not grant.covers_name(f"{two}.example")
    assert not grant.covers_name(f"{three}.{one}.{two}.example")
    assert not grant.covers_name(f"{one}.{two}.example.{three}")
    assert not grant.covers_name(f"{one}{two}.example") or one + two == two


def test_a_plain_grant_is_one_name() -> None:
    grant = Grant("api.example.com")
    assert grant.covers_name(normalise("API.example.COM."))
    for other in (
        "xapi.example.com",
        "x.api.example.com",
        "example.com",
        "api.example.com.evil.org",
        "api-example.com",
    ):
        assert not grant.covers_name(other)


def test_a_policy_does_not_depend_on_order_or_repetition() -> None:
    assert parse_policy(["b.example", "a.example"]) == parse_policy(["a.example:443", "b.example", "A.example"])


def test_a_negative_budget_is_refused() -> None:
    with pytest.raises(NullBoxError, match="must be 0 or more"):
        parse_policy([], -1)


@given(st.text(max_size=80))
def test_any_text_is_a_grant_or_an_invalid_one(text: str) -> None:
    try:
        grant = parse_grant(text)
    except NullBoxError as error:
        assert error.code is ErrorCode.INVALID
    else:
        assert parse_grant(grant.text) == grant

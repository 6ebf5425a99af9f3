from __future__ import annotations

import pytest

from nullbox.egress.addresses import AddressRules
from nullbox.egress.explain import explain, split_target
from nullbox.egress.policy import parse_grant
from nullbox.protocols.errors import ErrorCode, NullBoxError

GRANTS = [parse_grant(text) for text in ("api.example.com", "*.cdn.example.com:8443")]


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("a.example", ("a.example", 443)),
        ("a.example:80", ("a.example", 80)),
        ("45.0.0.1:80", ("45.0.0.1", 80)),
        ("[2606::1]:80", ("2606::1", 80)),
        ("[2606::1]", ("2606::1", 443)),
        ("2606::1", ("2606::1", 443)),
    ],
)
def test_reading_a_target(text: str, target: tuple[str, int]) -> None:
    assert split_target(text) == target


@pytest.mark.parametrize("text", ["", ":80", "a:", "a:0", "a:65536", "a:x", "[::1", "[::1]80", "a:٣"])
def test_what_is_no_target(text: str) -> None:
    with pytest.raises(NullBoxError) as caught:
        split_target(text)
    assert caught.value.code is ErrorCode.INVALID


@pytest.mark.parametrize(
    ("host", "port", "allowed", "rule", "hint"),
    [
        ("api.example.com", 443, True, "grant", "api.example.com:443"),
        ("API.example.com.", 443, True, "grant", "api.example.com:443"),
        ("api.example.com", 80, False, "no grant", "port 443 only"),
        ("x.cdn.example.com", 8443, True, "grant", "*.cdn.example.com"),
        ("y.x.cdn.example.com", 8443, False, "unlisted name", "one label only"),
        ("evil.org", 443, False, "unlisted name", "nothing is asked"),
        ("45.0.0.1", 443, False, "no grant", "resolve a granted name"),
        ("45.0.0.2", 443, True, "grant", "api.example.com:443"),
        ("169.254.169.254", 80, False, "special-purpose address", "metadata"),
        ("::ffff:10.0.0.1", 443, False, "special-purpose address", "private"),
        ("2606:4700::1", 443, False, "IPv6", "IPv4 only"),
        ("api.example.com", 853, False, "resolver port", "gateway address"),
    ],
)
def test_every_rule_explains_itself(host: str, port: int, allowed: bool, rule: str, hint: str) -> None:
    told = explain(host, port, GRANTS, AddressRules(), {"45.0.0.2": ["api.example.com:443"]})
    assert (told.allowed, told.rule) == (allowed, rule)
    assert hint in told.why


def test_a_learning_agent_reaches_any_name() -> None:
    assert explain("evil.org", 443, [], AddressRules(), {}, learn=True).rule == "learn"
    assert not explain("10.0.0.1", 443, [], AddressRules(), {}, learn=True).allowed

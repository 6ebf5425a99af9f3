from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress import config as module
from nullbox.egress.config import EgressConfig, Server, check
from nullbox.protocols.codec import decode, encode
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import Start

FULL: dict[str, Any] = {
    "uplinks": ["eth0", "eth1"],
    "upstreams": ["10.0.2.3", "9.9.9.9:5300"],
    "exceptions": ["10.0.2.0/24", "10.1.2.3"],
    "learn": True,
}


def test_an_empty_table_lets_nothing_out() -> None:
    assert EgressConfig.read({}) == EgressConfig((), (), (), False)


def test_a_full_table() -> None:
    config = EgressConfig.read(FULL)
    assert config.uplinks == ("eth0", "eth1")
    assert config.upstreams == (Server("10.0.2.3", 53), Server("9.9.9.9", 5300))
    assert [str(network) for network in config.exceptions] == ["10.0.2.0/24", "10.1.2.3/32"]
    assert config.learn


@pytest.mark.parametrize("table", [{}, FULL])
def test_as_message_data_it_is_the_same(table: dict[str, Any]) -> None:
    config = EgressConfig.read(table)
    assert EgressConfig.read(config.to_plain()) == config
    assert decode(encode(Start("egress", 1, config.to_plain(), {}))) == Start("egress", 1, config.to_plain(), {})


def test_the_example_in_the_description_is_right() -> None:
    text = (module.__doc__ or "").partition("\n[egress]")[2]
    config = EgressConfig.read(tomllib.loads("[egress]" + text)["egress"])
    assert config.uplinks == ("eth0",)


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ([], "egress is"),
        ({"uplink": []}, "egress.uplink "),
        ({"uplinks": "eth0"}, "egress.uplinks "),
        ({"uplinks": [1]}, "egress.uplinks[0]"),
        ({"uplinks": ["eth0", "nb3"]}, "egress.uplinks[1]"),
        ({"uplinks": ["*"]}, "egress.uplinks[0]"),
        ({"uplinks": ["lo"]}, "egress.uplinks[0]"),
        ({"uplinks": ["a" * 16]}, "egress.uplinks[0]"),
        ({"uplinks": ["eth0", "eth0"]}, "egress.uplinks "),
        ({"upstreams": ["dns.example"]}, "egress.upstreams[0]"),
        ({"upstreams": ["1.1.1.1:x"]}, "egress.upstreams[0]"),
        ({"upstreams": ["1.1.1.1:0"]}, "egress.upstreams[0]"),
        ({"upstreams": ["1.1.1.1:"]}, "egress.upstreams[0]"),
        ({"exceptions": ["10.0.0.1/8"]}, "egress.exceptions[0]"),
        ({"learn": "yes"}, "egress.learn"),
    ],
)
def test_a_wrong_table_names_its_key_and_what_is_allowed(table: Any, key: str) -> None:
    with pytest.raises(NullBoxError) as caught:
        EgressConfig.read(table)
    assert caught.value.code is ErrorCode.INVALID
    [line] = caught.value.message.splitlines()
    assert line.startswith(key)
    assert "allowed: " in line


def test_all_problems_are_told_at_once() -> None:
    _, problems = check({"learn": 1, "uplinks": ["nb0"], "upstreams": ["x"], "exceptions": ["y"], "z": 0})
    assert len(problems) == 5


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*module.KEYS, "address"]), inner),
    max_leaves=12,
)


@given(plain)
def test_nothing_breaks_the_check(value: object) -> None:
    _, problems = check(value)
    assert all(line.startswith("egress") and "allowed: " in line for line in problems)
    assert problems or isinstance(value, dict)

from __future__ import annotations

from typing import Any

import pytest

from nullbox.egress.build import EgressConfig
from nullbox.egress.dns.upstream import Server
from nullbox.protocols.errors import ErrorCode, NullBoxError


def test_an_empty_table_lets_nothing_out() -> None:
    assert EgressConfig.read({}) == EgressConfig((), (), (), False)


def test_a_full_table() -> None:
    table = {
        "uplinks": ["eth0"],
        "upstreams": ["10.0.2.3", "9.9.9.9:5300"],
        "exceptions": ["10.0.2.0/24"],
        "learn": True,
    }
    config = EgressConfig.read(table)
    assert config.upstreams == (Server("10.0.2.3", 53), Server("9.9.9.9", 5300))
    assert [str(network) for network in config.exceptions] == ["10.0.2.0/24"]


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ({"uplink": []}, "egress.uplink"),
        ({"uplinks": "eth0"}, "egress.uplinks"),
        ({"uplinks": [1]}, "egress.uplinks"),
        ({"upstreams": ["dns.example"]}, "egress.upstreams"),
        ({"upstreams": ["1.1.1.1:x"]}, "egress.upstreams"),
        ({"upstreams": ["1.1.1.1:0"]}, "egress.upstreams"),
        ({"exceptions": ["10.0.0.1/8"]}, "exception"),
        ({"learn": "yes"}, "egress.learn"),
    ],
)
def test_a_wrong_table_names_its_key(table: dict[str, Any], key: str) -> None:
    with pytest.raises(NullBoxError) as caught:
        EgressConfig.read(table)
    assert caught.value.code is ErrorCode.INVALID
    assert key in caught.value.message

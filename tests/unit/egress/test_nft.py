from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress.memory import MemoryFirewall
from nullbox.egress.nft import guard
from nullbox.protocols.errors import ErrorCode, NullBoxError

OURS = {"family": "inet", "table": "nullbox"}


@pytest.mark.parametrize(
    "command",
    [
        {"flush": {"ruleset": None}},
        {"list": {"ruleset": None}},
        {"delete": {"table": {"family": "inet", "name": "filter"}}},
        {"add": {"table": {"family": "inet", "name": "nullbox2"}}},
        {"add": {"table": {"family": "ip", "name": "nullbox"}}},
        {"add": {"table": {"name": "nullbox"}}},
        {"add": {"rule": {"family": "inet", "table": "filter", "chain": "input", "expr": []}}},
        {"add": {"chain": {"family": "inet", "name": "nullbox"}}},
        {"add": {"element": {"family": "bridge", "table": "nullbox", "name": "x", "elem": []}}},
        {"replace": {"rule": OURS}},
        {"add": {"flowtable": OURS}},
        {"add": {"rule": OURS, "table": {"family": "inet", "name": "filter"}}},
        {"add": {"rule": OURS}, "flush": {"ruleset": None}},
        {"add": None},
        {"metainfo": {}},
        {},
    ],
)
def test_commands_that_are_not_about_our_table_are_refused(command: Any) -> None:
    firewall = MemoryFirewall()
    with pytest.raises(NullBoxError) as caught:
        firewall.apply([{"add": {"table": {"family": "inet", "name": "nullbox"}}}, command])
    assert caught.value.code is ErrorCode.INTERNAL
    assert "command 1" in caught.value.message
    assert firewall.transactions == []


words = st.sampled_from(
    ["add", "delete", "flush", "table", "ruleset", "rule", "nullbox", "filter", "inet", "ip", "name"]
)
trees = st.recursive(
    st.none() | words, lambda inner: st.dictionaries(words | st.just("family"), inner, max_size=3), max_leaves=8
)


@given(st.dictionaries(words, trees, max_size=2))
def test_whatever_passes_names_our_table(command: dict[str, Any]) -> None:
    try:
        guard([command])
    except NullBoxError:
        return
    ((_, target),) = command.items()
    ((kind, body),) = target.items()
    assert kind != "ruleset"
    assert body["name" if kind == "table" else "table"] == "nullbox"
    assert body["family"] in ("inet", "arp")

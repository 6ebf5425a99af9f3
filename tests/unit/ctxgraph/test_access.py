"""Key prefixes: what a channel may read and write."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.ctxgraph.access import HOST_AGENT, host_rights, minimal, rights
from nullbox.protocols.errors import ErrorCode, NullBoxError

words = st.text("ab.", max_size=4)


def test_prefixes_decide_and_the_error_says_what_is_granted() -> None:
    granted = rights("researcher", ["research.", "shared."], ["research."])
    granted.check_read("shared.x")
    granted.check_write("research.x")
    with pytest.raises(NullBoxError, match=r"may not write 'shared.x'; its manifest grants 'research.'") as raised:
        granted.check_write("shared.x")
    assert raised.value.code is ErrorCode.DENIED


def test_no_prefix_grants_nothing_and_the_empty_one_everything() -> None:
    nothing = rights("a", [], [])
    with pytest.raises(NullBoxError, match="grants nothing"):
        nothing.check_read("a")
    with pytest.raises(NullBoxError, match="grants nothing"):
        nothing.readable("")
    rights("a", [""], [""]).check_write("anything")


@given(st.lists(words, max_size=4), words, st.lists(words, max_size=20))
def test_a_query_sees_exactly_what_both_prefixes_allow(granted: list[str], asked: str, keys: list[str]) -> None:
    allowed = rights("a", granted, [])
    expected = [key for key in keys if key.startswith(asked) and any(key.startswith(each) for each in granted)]
    try:
        ranges = allowed.readable(asked)
    except NullBoxError:
        assert not expected
        return
    assert [key for key in keys if key.startswith(ranges)] == expected
    assert all(sum(key.startswith(each) for each in ranges) <= 1 for key in keys), "no key twice"


@given(st.lists(words, max_size=6), words)
def test_minimal_keeps_the_set_of_keys(prefixes: list[str], key: str) -> None:
    assert key.startswith(minimal(prefixes)) == any(key.startswith(each) for each in prefixes)


def test_only_the_host_sees_the_whole_log() -> None:
    host_rights().check_whole_log("verify")
    assert host_rights().agent_id == HOST_AGENT
    with pytest.raises(NullBoxError, match="ask the operator"):
        rights("a", [""], [""]).check_whole_log("verify")

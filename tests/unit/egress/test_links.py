from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress.links import LAST_MARK, MAX_COMMENT, Link, change, comment, limit_of, read_limits, read_links
from nullbox.egress.memory import MemoryFirewall
from nullbox.egress.policy import LinkPolicy, parse_policy
from nullbox.egress.ruleset import Base, base_commands
from nullbox.egress.slots import Slot
from nullbox.protocols.errors import NullBoxError

HOSTS = ["a.example.com", "b.example.com", "*.example.org:8443", "d.example.net:22"]
policies = st.builds(
    lambda allow, calls: parse_policy(allow, calls), st.lists(st.sampled_from(HOSTS)), st.sampled_from([0, 1, 200])
)


def read_back(firewall: MemoryFirewall) -> list[Link]:
    return read_links(
        firewall.elements("agents"),
        firewall.elements("live"),
        firewall.elements("budgets"),
        read_limits(firewall.objects()),
    )


@given(st.lists(policies, min_size=1, max_size=6))
def test_the_kernel_holds_what_the_last_policy_grants_and_says_so(history: list[LinkPolicy]) -> None:
    firewall = MemoryFirewall()
    firewall.apply(base_commands(Base()))
    link: Link | None = None
    mark = 1
    used: dict[int, str] = {}
    for policy in history:
        link, commands, mark = change(link, Slot(3), "a", policy, mark)
        firewall.apply(commands)
        assert set(link.marks) == {grant.text for grant in policy.allow}
        assert read_back(firewall) == [link]
        for text, number in link.marks.items():
            assert used.setdefault(number, text) == text, "a mark was given out twice"
    assert firewall.elements("generation") in ([], [mark])


def test_a_grant_that_stays_keeps_its_mark() -> None:
    link, _, mark = change(None, Slot(0), "a", parse_policy(HOSTS[:2]), 1)
    after, _, _ = change(link, Slot(0), "a", parse_policy(HOSTS[1:]), mark)
    assert after.marks["b.example.com:443"] == link.marks["b.example.com:443"]


def test_a_grant_that_returns_gets_a_new_mark() -> None:
    link, _, mark = change(None, Slot(0), "a", parse_policy(HOSTS[:1]), 1)
    without, _, mark = change(link, Slot(0), "a", parse_policy([]), mark)
    again, _, _ = change(without, Slot(0), "a", parse_policy(HOSTS[:1]), mark)
    assert again.marks != link.marks


def test_nothing_to_change_is_no_command() -> None:
    link, _, mark = change(None, Slot(0), "a", parse_policy(HOSTS, 5), 1)
    assert change(link, Slot(0), "a", parse_policy(HOSTS, 5), mark) == (link, [], mark)


def test_marks_never_wrap() -> None:
    with pytest.raises(NullBoxError, match="used up"):
        change(None, Slot(0), "a", parse_policy(HOSTS), LAST_MARK)


@given(st.integers(1, 100_000))
def test_no_hour_lets_more_calls_through_than_the_budget(calls: int) -> None:
    rate, burst = limit_of(calls)
    assert burst >= 1
    assert rate >= 1
    assert burst + rate - 1 == calls


@given(st.text(max_size=300))
def test_a_comment_fits(text: str) -> None:
    assert len(comment(text)) <= MAX_COMMENT


def test_a_foreign_element_is_ignored() -> None:
    items: list[Any] = [{"elem": {"val": "eth0", "comment": "x"}}, {"elem": {"val": "nb2", "comment": "b"}}]
    assert [link.agent for link in read_links(items, [], [], {})] == ["b"]

"""What a machine can live with as its addresses, and what it refuses, whoever says it."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.bootstrap.lease import (
    AGENTS,
    LONGEST,
    UNUSABLE,
    Lease,
    LeaseError,
    checked,
    choose_interface,
    parse_setting,
    usable_resolvers,
)

GOOD = Lease(
    IPv4Address("192.0.2.7"), 24, IPv4Address("192.0.2.1"), (IPv4Address("192.0.2.53"),), 3600, IPv4Address("192.0.2.1")
)


def test_a_good_lease_is_taken_and_survives_the_way_between_processes() -> None:
    assert checked(GOOD) == GOOD
    assert Lease.from_plain(GOOD.to_plain()) == GOOD


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"address": IPv4Address("127.0.0.1")}, "127.0.0.1"),
        ({"address": IPv4Address("192.0.2.255")}, "not one machine"),
        ({"address": IPv4Address("192.0.2.0")}, "not one machine"),
        ({"address": IPv4Address("224.0.0.5")}, "no machine's address"),
        ({"address": IPv4Address("0.0.0.0")}, "no machine's address"),
        ({"address": IPv4Address("10.90.3.2"), "router": None}, "network of the agents"),
        ({"address": IPv4Address("10.1.2.3"), "prefix": 8, "router": None}, "network of the agents"),
        ({"prefix": 0}, "prefix length 0"),
        ({"prefix": 32}, "prefix length 32"),
        ({"router": IPv4Address("198.51.100.1")}, "not another machine"),
        ({"router": IPv4Address("192.0.2.7")}, "not another machine"),
        ({"resolvers": (IPv4Address("127.0.0.53"),)}, "resolver 127.0.0.53"),
        ({"resolvers": (IPv4Address("10.90.0.1"),)}, "resolver 10.90.0.1"),
        ({"seconds": 0}, "at least 60"),
        ({"seconds": -5}, "at least 60"),
    ],
)
def test_a_bad_one_is_refused_with_its_reason(change: dict[str, object], words: str) -> None:
    with pytest.raises(LeaseError, match=words):
        checked(replace(GOOD, **change))  # type: ignore[arg-type]


def test_a_lease_for_ever_is_renewed_weekly() -> None:
    assert checked(replace(GOOD, seconds=0xFFFFFFFF)).seconds == LONGEST


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(list(GOOD.to_plain())), inner),
    )
)
def test_no_line_of_the_other_process_is_more_than_refused(plain: object) -> None:
    try:
        lease = Lease.from_plain(plain)
    except LeaseError:
        return
    assert_harmless(lease)


def assert_harmless(lease: Lease) -> None:
    """Whatever was said by whomever: these hold for every lease that is used."""
    assert not lease.network.overlaps(AGENTS)
    assert not any(lease.network.overlaps(each) for each in UNUSABLE)
    assert lease.router is None or (lease.router in lease.network and lease.router != lease.address)
    assert len(lease.resolvers) <= 3
    assert all(each not in AGENTS and each != lease.address and not each.is_loopback for each in lease.resolvers)
    assert lease.seconds is None or 60 <= lease.seconds <= LONGEST


def test_resolvers_that_cannot_be_are_left_out_and_the_rest_is_used() -> None:
    found = [
        IPv4Address(t) for t in ("127.0.0.1", "192.0.2.53", "192.0.2.53", "10.90.0.1", "1.1.1.1", "8.8.8.8", "9.9.9.9")
    ]
    assert [str(each) for each in usable_resolvers(found, IPv4Address("192.0.2.7"))] == [
        "192.0.2.53",
        "1.1.1.1",
        "8.8.8.8",
    ]


@pytest.mark.parametrize(
    ("text", "router", "resolvers"),
    [
        ("192.0.2.7/24", None, 0),
        ("192.0.2.7/24,192.0.2.1", "192.0.2.1", 0),
        ("192.0.2.7/24,,192.0.2.53", None, 1),
        ("192.0.2.7/24,192.0.2.1,192.0.2.53,192.0.2.54", "192.0.2.1", 2),
    ],
)
def test_a_static_setting(text: str, router: str | None, resolvers: int) -> None:
    lease = parse_setting(text)
    assert isinstance(lease, Lease)
    assert (str(lease.router) if lease.router else None, len(lease.resolvers)) == (router, resolvers)
    assert lease.seconds is None


@pytest.mark.parametrize(
    "text", ["", "192.0.2.7", "192.0.2.7/33", "auto", "192.0.2.7/24,x", "192.0.2.7/24,10.0.0.1", "::1/64"]
)
def test_a_wrong_setting_says_what_is_allowed(text: str) -> None:
    with pytest.raises(LeaseError, match=r"allowed|not another|prefix"):
        parse_setting(text)


def test_the_uplink_is_the_only_card_or_the_named_one_or_the_first() -> None:
    assert choose_interface("auto", []) == ("", "there is no network card")
    assert choose_interface("auto", ["eth0"])[0] == "eth0"
    name, why = choose_interface("auto", ["eth0", "eth1"])
    assert name == "eth0"
    assert "eth1" in why
    assert choose_interface("eth1", ["eth0", "eth1"])[0] == "eth1"
    assert choose_interface("eth7", ["eth0"])[0] == ""

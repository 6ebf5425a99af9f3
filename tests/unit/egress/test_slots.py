from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress.slots import LINK_PREFIX, MAX_SLOTS, SUPERNET, Slot, allocate, slot_of_tap
from nullbox.protocols.errors import ErrorCode, NullBoxError

numbers = st.integers(0, MAX_SLOTS - 1)


def test_the_first_and_the_last_slot() -> None:
    first, last = Slot(0), Slot(MAX_SLOTS - 1)
    assert (first.tap, first.gateway, first.guest, first.mac) == (
        "nb0",
        "10.90.0.1",
        "10.90.0.2",
        "5a:94:ef:00:00:00",
    )
    assert (last.gateway, last.guest, last.mac) == ("10.90.255.253", "10.90.255.254", "5a:94:ef:00:3f:ff")


@given(numbers)
def test_both_addresses_share_one_link_inside_the_supernet(number: int) -> None:
    slot = Slot(number)
    link = ipaddress.ip_network(f"{slot.gateway}/{LINK_PREFIX}", strict=False)
    assert [str(host) for host in link.hosts()] == [slot.gateway, slot.guest]
    assert link.subnet_of(ipaddress.ip_network(SUPERNET))  # type: ignore[arg-type]
    assert len(slot.tap) <= 15, "longer than IFNAMSIZ allows"


@given(numbers, numbers)
def test_no_two_slots_share_anything(one: int, other: int) -> None:
    a, b = Slot(one), Slot(other)
    assert (one == other) == (a.tap == b.tap) == (a.guest == b.guest) == (a.mac == b.mac)


@given(numbers)
def test_a_tap_name_leads_back_to_its_slot(number: int) -> None:
    assert slot_of_tap(Slot(number).tap) == Slot(number)


@pytest.mark.parametrize("name", ["nb", "nb01", "nb-1", "nbx", "eth0", "xnb1", "nb1x", "nb16384", "nb99999", "nb١"])
def test_other_names_are_nobodys_slot(name: str) -> None:
    assert slot_of_tap(name) is None


@pytest.mark.parametrize("number", [-1, MAX_SLOTS])
def test_a_slot_out_of_range_is_refused(number: int) -> None:
    with pytest.raises(ValueError, match="must be 0 to"):
        Slot(number)


def test_an_agent_keeps_its_slot() -> None:
    assert allocate({"a": Slot(5)}, "a") == Slot(5)


def test_the_lowest_free_slot_is_given_out() -> None:
    assert allocate({"a": Slot(0), "b": Slot(2)}, "c", [Slot(1)]) == Slot(3)
    assert allocate({"a": Slot(1)}, "c") == Slot(0)


@given(st.sets(numbers, max_size=50))
def test_a_slot_in_use_is_never_given_to_another(used: set[int]) -> None:
    owners = {f"agent{number}": Slot(number) for number in used}
    assert allocate(owners, "newcomer").number not in used


def test_running_out_is_an_error() -> None:
    with pytest.raises(NullBoxError) as caught:
        allocate({str(number): Slot(number) for number in range(MAX_SLOTS)}, "one-more")
    assert caught.value.code is ErrorCode.UNAVAILABLE

from __future__ import annotations

import ipaddress
import re
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress.addresses import METADATA, SPECIAL, AddressRules, block_of, embedded, parse_exceptions, special_v4
from nullbox.protocols.errors import ErrorCode, NullBoxError

v4 = st.ip_addresses(v=4)
AZURE = "168.63.129.16"

FORMS = {
    "mapped": lambda a: IPv6Address(0xFFFF_0000_0000 | int(a)),
    "compatible": lambda a: IPv6Address(int(a)),
    "translated": lambda a: IPv6Address(0xFFFF << 48 | int(a)),
    "nat64": lambda a: IPv6Address(int(IPv6Address("64:ff9b::")) | int(a)),
    "local nat64 /96": lambda a: IPv6Address(int(IPv6Address("64:ff9b:1::")) | int(a)),
    "local nat64 /48": lambda a: IPv6Address(
        int(IPv6Address("64:ff9b:1::")) | int(a) >> 16 << 64 | (int(a) & 0xFFFF) << 40
    ),
    "local nat64 /56": lambda a: IPv6Address(
        int(IPv6Address("64:ff9b:1::")) | int(a) >> 24 << 64 | (int(a) & 0xFFFFFF) << 32
    ),
    "local nat64 /64": lambda a: IPv6Address(int(IPv6Address("64:ff9b:1::")) | int(a) << 24),
    "6to4": lambda a: IPv6Address(0x2002 << 112 | int(a) << 80),
    "teredo server": lambda a: IPv6Address(0x2001_0000 << 96 | int(a) << 64),
    "teredo client": lambda a: IPv6Address(0x2001_0000 << 96 | ~int(a) & 0xFFFF_FFFF),
    "isatap": lambda a: IPv6Address(0x2600 << 112 | 0x5EFE << 32 | int(a)),
    "isatap, global bit": lambda a: IPv6Address(0x2600 << 112 | 0x0200_5EFE << 32 | int(a)),
}


@pytest.mark.parametrize("form", FORMS)
@given(address=v4)
def test_every_embedded_form_is_unwrapped(form: str, address: IPv4Address) -> None:
    assert address in list(embedded(FORMS[form](address)))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("text", [str(block.network[0]) for block in METADATA if block.network.version == 4])
def test_metadata_is_denied_in_every_form(form: str, text: str) -> None:
    address = IPv4Address(text)
    assert AddressRules().denied(address)
    assert AddressRules().denied(FORMS[form](address))


@given(st.ip_addresses())
def test_whatever_python_calls_not_global_is_denied(address: IPv4Address | IPv6Address) -> None:
    # The other direction does not hold: see the module.
    if not address.is_global or address.is_multicast:
        assert block_of(address) is not None


@pytest.mark.parametrize(
    "text",
    ["64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::", "fec0::1", "3fff::1", "5f00::1", "ff02::1", "224.0.0.1", AZURE],
)
def test_what_is_global_misses_is_denied(text: str) -> None:
    assert AddressRules().denied(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["1.1.1.1", "8.8.8.8", "45.33.32.10", "168.63.129.15", "2606:4700::1", "172.32.0.1"])
def test_ordinary_addresses_are_not_denied(text: str) -> None:
    assert AddressRules().denied(ipaddress.ip_address(text)) is None


@pytest.mark.parametrize("block", SPECIAL + METADATA, ids=lambda block: str(block.network))
def test_both_ends_of_every_block_are_denied_and_every_row_has_a_source(block: object) -> None:
    network = block.network  # type: ignore[attr-defined]
    for address in (network[0], network[-1]):
        assert AddressRules().denied(address)
    assert block.source  # type: ignore[attr-defined]
    assert block.name  # type: ignore[attr-defined]


def test_every_special_block_names_its_rfc() -> None:
    assert all(re.match(r"RFC \d+", block.source) for block in SPECIAL)


@given(v4)
def test_the_kernels_set_and_the_table_agree(address: IPv4Address) -> None:
    in_set = any(address in ipaddress.ip_network(cidr) for cidr in special_v4())
    assert in_set == (block_of(address) is not None)


@given(st.lists(st.tuples(st.sampled_from(["10.0.0.0", "127.0.0.0", "169.254.169.254"]), st.just(32)), max_size=3), v4)
def test_an_exception_opens_its_own_addresses_only(holes: list[tuple[str, int]], address: IPv4Address) -> None:
    texts = [f"{base}/{length}" for base, length in holes]
    in_set = any(address in ipaddress.ip_network(cidr) for cidr in special_v4(texts))
    excepted = str(address) in {base for base, _ in holes}
    assert in_set == (block_of(address) is not None and not excepted)


def test_an_exception_wider_than_a_block_opens_all_of_it() -> None:
    networks = [ipaddress.ip_network(cidr) for cidr in special_v4(["10.0.0.0/7"])]
    assert not any(IPv4Address("10.1.2.3") in network for network in networks)
    assert any(IPv4Address("127.0.0.1") in network for network in networks)


def test_intervals_do_not_overlap() -> None:
    networks = [ipaddress.ip_network(cidr) for cidr in special_v4(["10.2.0.0/16", "169.254.0.0/17"])]
    assert not any(a.overlaps(b) for i, a in enumerate(networks) for b in networks[:i])


def test_the_hosts_own_address_is_denied_even_inside_an_exception() -> None:
    rules = AddressRules({IPv4Address("10.0.2.15")}, parse_exceptions(["10.0.2.0/24"]))
    assert rules.denied(IPv4Address("10.0.2.4")) is None
    assert "host itself" in (rules.denied(IPv4Address("10.0.2.15")) or "")
    assert "host itself" in (rules.denied(IPv6Address("::ffff:10.0.2.15")) or "")


@pytest.mark.parametrize("text", ["10.0.0.1/8", "nonsense", "", "10.0.0.0/33"])
def test_a_bad_exception_is_refused(text: str) -> None:
    with pytest.raises(NullBoxError) as caught:
        parse_exceptions([text])
    assert caught.value.code is ErrorCode.INVALID

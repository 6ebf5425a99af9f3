"""What egress makes of PID 1's record of the uplink, which changes under it."""

from __future__ import annotations

import json
import tempfile
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nullbox.egress.addresses import AddressRules
from nullbox.egress.config import Server
from nullbox.egress.uplink import OwnAddresses, Uplink

LEASE = {"interface": "eth0", "how": "dhcp", "address": "192.0.2.7", "prefix": 24, "resolvers": ["192.0.2.53"]}


def written(path: Path, record: object) -> Path:
    """As PID 1 does it: another file in the same place."""
    partial = path.with_suffix(".new")
    partial.write_text(json.dumps(record))
    partial.replace(path)
    return path


def test_without_a_record_there_is_no_uplink(tmp_path: Path) -> None:
    uplink = Uplink(tmp_path / "uplink.json")
    assert (uplink.interfaces(), uplink.servers(), uplink.address()) == ((), (), None)


def test_interface_resolvers_and_address_come_from_the_record(tmp_path: Path) -> None:
    uplink = Uplink(written(tmp_path / "uplink.json", LEASE))
    assert uplink.interfaces() == ("eth0",)
    assert uplink.servers() == (Server("192.0.2.53"),)
    assert uplink.address() == IPv4Address("192.0.2.7")


def test_a_lease_that_came_later_counts_from_then_on(tmp_path: Path) -> None:
    path = written(tmp_path / "uplink.json", {"interface": "eth0", "how": "dhcp"})
    uplink = Uplink(path)
    rules = AddressRules(OwnAddresses(frozenset({IPv4Address("127.0.0.1")}), uplink))
    public = IPv4Address("93.184.215.14")
    assert uplink.servers() == ()
    assert rules.denied(public) is None
    written(path, {**LEASE, "address": str(public)})
    assert uplink.servers() == (Server("192.0.2.53"),)
    assert "address of the host itself" in str(rules.denied(public))
    path.unlink()
    assert uplink.servers() == ()
    assert rules.denied(public) is None


@given(st.binary(max_size=60) | st.sampled_from([b"[]", b"null", b'{"interface": 7}', b'{"resolvers": {"a": 1}}']))
def test_a_record_of_any_other_kind_is_none(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "uplink.json"
        path.write_bytes(content)
        uplink = Uplink(path)
        assert all(isinstance(each, str) for each in uplink.interfaces())
        assert all(isinstance(each, Server) for each in uplink.servers())
        assert uplink.address() is None


@pytest.mark.parametrize("address", ["no", "", None, 7])
def test_an_address_that_is_none_is_none(tmp_path: Path, address: object) -> None:
    assert Uplink(written(tmp_path / "uplink.json", {**LEASE, "address": address})).address() is None

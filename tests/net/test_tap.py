"""Real TAP devices in a namespace of their own."""

from __future__ import annotations

import fcntl
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from netlab import Host, Lab
from netspace import Worker

from nullbox.chaos.standin import IFF_NO_PI, IFF_TAP, TUNSETIFF
from nullbox.egress import devices
from nullbox.egress.policy import parse_policy
from nullbox.egress.slots import Slot
from nullbox.egress.tap import IPV4_SYSCTLS, IPV6_SYSCTLS, TapState

POLICY = parse_policy(["web.example.com"])

if not Path("/dev/net/tun").exists():
    pytest.skip("/dev/net/tun is missing: this machine has no TUN driver", allow_module_level=True)


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(agents=0) as built:
        yield built


@pytest.fixture
def host(lab: Lab) -> Worker:
    worker = lab.worker("host", lambda: Host(real_taps=True))
    worker.call("prepare")
    return worker


def sysctl(family: str, key: str, tap: str) -> str:
    return Path(f"/proc/sys/net/{family}/conf/{tap}/{key}").read_text().strip()


def test_a_tap_has_its_owner_alias_address_and_manners(lab: Lab, host: Worker) -> None:
    host.call("open_link", "pulse", POLICY)
    assert host.call("tap_list") == [TapState(Slot(0), "pulse", True, 0)]
    shown = lab.run("host", ["ip", "addr", "show", "dev", "nb0"]).stdout
    assert "inet 10.90.0.1/30" in shown
    assert "inet6" not in shown
    neighbours = lab.run("host", ["ip", "neigh", "show", "dev", "nb0"]).stdout
    assert "10.90.0.2 lladdr 5a:94:ef:00:00:00 PERMANENT" in neighbours
    for family, table in (("ipv4", IPV4_SYSCTLS), ("ipv6", IPV6_SYSCTLS)):
        for key, value in table.items():
            if family == "ipv4" or Path("/proc/sys/net/ipv6").exists():
                assert lab.inside("host", sysctl, family, key, "nb0") == value


def test_a_tap_outlives_the_service_and_is_found_again(lab: Lab, host: Worker) -> None:
    host.call("open_link", "pulse", POLICY)
    before = host.call("rules")
    host.kill()
    heir = lab.worker("host", lambda: Host(real_taps=True))
    heir.call("prepare")
    assert heir.call("rules") == before
    assert heir.call("reconcile", ["pulse"]) == []
    assert heir.call("reconcile", []) == ["pulse"]
    assert heir.call("tap_list") == []


def test_opening_again_keeps_the_device_and_closing_removes_it(host: Worker) -> None:
    first = host.call("open_link", "pulse", POLICY)
    assert host.call("open_link", "pulse", parse_policy([])) == first
    assert len(host.call("tap_list")) == 1
    host.call("close_link", "pulse")
    assert host.call("tap_list") == []


class Holder:
    """What a VMM does with a TAP: attach to it. uid: as that user, without privileges; 0: as root."""

    def __init__(self, tap: str, uid: int = 0) -> None:
        self._fd = os.open("/dev/net/tun", os.O_RDWR)
        os.setresuid(uid, uid, uid)
        fcntl.ioctl(self._fd, TUNSETIFF, struct.pack("16sH22x", tap.encode(), IFF_TAP | IFF_NO_PI))


def test_a_link_that_a_vm_holds_can_change(lab: Lab, host: Worker) -> None:
    first = host.call("open_link", "pulse", POLICY)
    lab.worker("host", lambda: Holder("nb0"))
    assert host.call("open_link", "pulse", parse_policy(["other.example.com"])) == first
    host.call("change_policy", "pulse", POLICY)
    [link] = host.call("rules")["links"]
    assert [grant["grant"] for grant in link["grants"]] == ["web.example.com:443"]


def test_a_tap_is_its_owners_and_no_other_agents(lab: Lab, host: Worker) -> None:
    mine, other = 60_001, 60_002
    host.call("open_link", "pulse", POLICY, mine)
    with pytest.raises(AssertionError, match="PermissionError"):
        lab.worker("host", lambda: Holder("nb0", other))
    lab.worker("host", lambda: Holder("nb0", mine))


def test_nothing_outside_the_namespace_changed(host: Worker) -> None:
    before = sorted(path.name for path in Path("/sys/class/net").iterdir())
    host.call("open_link", "pulse", POLICY)
    assert sorted(path.name for path in Path("/sys/class/net").iterdir()) == before


def test_addresses_are_known_however_many_there_are_and_on_links_that_are_down(lab: Lab) -> None:
    wanted = {f"10.99.0.{number}" for number in range(1, 101)} | {"10.98.0.1"}
    for number in range(1, 101):
        assert lab.run("host", ["ip", "addr", "add", f"10.99.0.{number}/32", "dev", "lo"]).returncode == 0
    assert lab.run("host", ["ip", "tuntap", "add", "other", "mode", "tap"]).returncode == 0
    assert lab.run("host", ["ip", "addr", "add", "10.98.0.1/24", "dev", "other"]).returncode == 0
    assert "other" in lab.inside("host", devices.names)
    shown = json.loads(lab.run("host", ["ip", "-json", "addr"]).stdout)
    ours = {str(address) for address in lab.inside("host", devices.addresses)}
    assert ours == {info["local"] for link in shown for info in link["addr_info"]}
    assert wanted <= ours

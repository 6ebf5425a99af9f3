"""The uplink's process, with a real interface in a namespace of its own and servers, good and bad, at the other end.

Nothing leads out of the two namespaces.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import netspace
import pytest
from dhcp_server import Answer, good, hostile, serving, short

pytestmark = [
    pytest.mark.net,
    pytest.mark.timeout(120),
    pytest.mark.skipif(bool(netspace.missing()), reason=netspace.missing() or "-"),
]


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True, timeout=30).stdout


@dataclass
class Cable:
    """Two namespaces and a cable between them: `eth0` in the near one, `far0` in the other."""

    near: str
    far: str
    record: Path

    def uplink(self, setting: str) -> tuple[int, dict[str, Any]]:
        """Run the process as PID 1 does; returns its status and the record."""
        argv = [sys.executable, "-m", "nullbox.bootstrap.uplink", "eth0", setting, str(self.record)]
        done = subprocess.run(["ip", "netns", "exec", self.near, *argv], timeout=90, capture_output=True, text=True)
        assert "Traceback" not in done.stderr, done.stderr
        return done.returncode, json.loads(self.record.read_text())

    def addresses(self) -> list[str]:
        shown = json.loads(ip("-n", self.near, "-json", "-4", "addr", "show", "dev", "eth0"))
        return [f"{each['local']}/{each['prefixlen']}" for link in shown for each in link.get("addr_info", [])]

    def valid(self) -> int:
        shown = json.loads(ip("-n", self.near, "-json", "-4", "addr", "show", "dev", "eth0"))
        return int(shown[0]["addr_info"][0]["valid_life_time"])

    def default_route(self) -> str | None:
        shown = json.loads(ip("-n", self.near, "-json", "route", "show", "default"))
        return shown[0]["gateway"] if shown else None

    def sockets(self) -> str:
        """What listens in the near namespace."""
        done = subprocess.run(
            ["ip", "netns", "exec", self.near, "cat", "/proc/net/udp", "/proc/net/tcp"], capture_output=True, text=True
        )
        return "\n".join(line for line in done.stdout.splitlines() if "local_address" not in line)

    def asked(self, answer: Answer, flood: int = 0) -> tuple[int, dict[str, Any]]:
        with serving(self.far, "far0", answer, flood):
            return self.uplink("dhcp")


@pytest.fixture
def cable(tmp_path: Path) -> Iterator[Cable]:
    mark = secrets.token_hex(3)
    found = Cable(f"nbun{mark}", f"nbuf{mark}", tmp_path / "uplink.json")
    try:
        for name in (found.near, found.far):
            ip("netns", "add", name)
        ip("-n", found.near, "link", "add", "eth0", "type", "veth", "peer", "name", "far0", "netns", found.far)
        ip("-n", found.far, "link", "set", "far0", "up")
        yield found
    finally:
        for name in (found.near, found.far):
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_a_good_server_gives_address_route_and_resolvers(cable: Cable) -> None:
    code, record = cable.asked(good)
    assert code == 0, record
    assert cable.addresses() == ["192.0.2.7/24"]
    assert cable.default_route() == "192.0.2.1"
    assert record["resolvers"] == ["192.0.2.53"]
    assert record["again_s"] == 1800
    assert cable.sockets() == "", "nothing listens, not even for DHCP"
    # The kernel takes the address away when the lease is over, whoever lives by then.
    assert 3500 < cable.valid() <= 3600


def test_a_lease_is_renewed_and_another_networks_address_replaces_the_old_one(cable: Cable) -> None:
    cable.asked(good)
    code, record = cable.asked(short)
    assert (code, record["again_s"]) == (0, 30)
    assert cable.valid() <= 60
    assert cable.addresses() == ["192.0.2.7/24"]
    code, _ = cable.uplink("198.51.100.9/25,198.51.100.1")
    assert code == 0
    assert cable.addresses() == ["198.51.100.9/25"]
    assert cable.default_route() == "198.51.100.1"


def test_a_static_address_needs_no_server(cable: Cable) -> None:
    code, record = cable.uplink("192.0.2.40/24,192.0.2.1,192.0.2.53")
    assert (code, record["again_s"], record["how"]) == (0, None, "static")
    assert cable.addresses() == ["192.0.2.40/24"]


@pytest.mark.parametrize("flood", [0, 300])
def test_a_hostile_server_gets_nothing_set_and_hurts_nobody(cable: Cable, flood: int) -> None:
    code, record = cable.asked(hostile, flood)
    assert code == 75
    assert record["error"]
    assert record["again_s"] == 5
    assert cable.addresses() == []
    assert cable.default_route() is None
    # A good server is still found the next time.
    code, _ = cable.asked(good)
    assert code == 0


def test_a_lease_that_runs_is_not_lost_when_the_server_is(cable: Cable) -> None:
    cable.asked(good)
    code, record = cable.asked(hostile)
    assert code == 75
    assert cable.addresses() == ["192.0.2.7/24"]
    assert record["address"] == "192.0.2.7"
    assert record["failures"] == 1


def test_an_interface_that_is_not_there_is_said(tmp_path: Path) -> None:
    record = tmp_path / "uplink.json"
    argv = [sys.executable, "-m", "nullbox.bootstrap.uplink", "nonesuch0", "dhcp", str(record)]
    assert subprocess.run(argv, timeout=60, capture_output=True).returncode == 75
    assert "nonesuch0" in json.loads(record.read_text())["error"]

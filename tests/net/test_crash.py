"""Egress dies at every point of its work while an agent never stops trying: nothing opens, nothing granted breaks."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from typing import Any

import netlab
import pytest
from namelab import NameHost, NameServer, Zone, lookup
from netlab import WEB, Lab, Servers, Worker

from nullbox.egress.nft import KernelFirewall
from nullbox.egress.policy import LinkPolicy, parse_policy
from nullbox.egress.slots import Slot
from nullbox.protocols.errors import NullBoxError

GRANT = parse_policy(["web.example.com"])
OTHER = parse_policy(["web.example.com", "more.example.com"], 100)
FORBIDDEN = 4444
GATEWAY = Slot(0).gateway


class Dying(KernelFirewall):
    """A firewall whose process is killed before or after its n-th transaction."""

    def __init__(self, fatal: int, *, before: bool) -> None:
        super().__init__()
        self._left = fatal
        self._before = before

    def apply(self, commands: Any) -> None:
        self._left -= 1
        if self._left == 0 and self._before:
            os.kill(os.getpid(), signal.SIGKILL)
        super().apply(commands)
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class DyingHost(NameHost):
    def __init__(self, fatal: int, *, before: bool) -> None:
        self.fatal, self.before = fatal, before
        super().__init__()

    def restart(self) -> None:
        self.firewall = Dying(self.fatal, before=self.before)
        super().restart()

    def work(self) -> None:
        """Start, and change grants back and forth, until it kills this process."""
        self.service.prepare()
        self.service.reconcile(["agent0", "agent1", "third"])
        for policy in (OTHER, GRANT, OTHER, LinkPolicy(), GRANT):
            self.service.open_link("third", policy)
        self.service.close_link("third")


class Probe:
    """Sends to forbidden places as fast as it can, in a process that nothing else disturbs."""

    def __init__(self) -> None:
        self.sent = 0
        self._link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._link.setblocking(False)
        import threading

        threading.Thread(target=self._loop, daemon=True).start()

    def _loop(self) -> None:
        targets = [(WEB, FORBIDDEN), (netlab.INTERNET, 53), (GATEWAY, FORBIDDEN), (Slot(1).guest, FORBIDDEN)]
        while True:
            for target in targets:
                try:
                    self._link.sendto(b"NULLBOX-PROBE", target)
                    self.sent += 1
                except OSError:
                    pass

    def count(self) -> int:
        return self.sent


def die(lab: Lab, fatal: int, *, before: bool) -> None:
    """Run a service that kills itself; whether it got as far as the fatal transaction does not matter."""
    worker = lab.worker("host", lambda: DyingHost(fatal, before=before))
    with pytest.raises((EOFError, ConnectionResetError)):
        worker.call("work")
        worker.kill()
        raise EOFError  # it came through alive: there are fewer transactions than that


def listeners(lab: Lab) -> list[Worker]:
    make: Callable[[], Servers] = lambda: Servers(udp=[FORBIDDEN])  # noqa: E731
    return [lab.worker(role, make) for role in ("internet", "host", "agent1")]


@pytest.mark.slow
def test_no_death_opens_anything_or_cuts_what_is_granted() -> None:
    with Lab(host=NameHost) as lab:
        lab.host.call("prepare")
        for agent in ("agent0", "agent1"):
            lab.host.call("open_link", agent, GRANT)
        names = lab.worker("internet", NameServer)
        names.call("tell", {"web.example.com": Zone([WEB])})
        lab.worker("internet", lambda: Servers(tcp=[443]))
        watchers = listeners(lab)
        assert lab.inside("agent0", lookup, GATEWAY, "web.example.com").values == [WEB]
        flow = lab.worker("agent0", lambda: netlab.Flow(WEB, 443))
        lab.host.kill()
        probe = lab.worker("agent0", Probe)
        for before in (True, False):
            for fatal in range(1, 9):
                sent = probe.call("count")
                die(lab, fatal, before=before)
                assert flow.call("echo") == "open", f"death {'before' if before else 'after'} transaction {fatal}"
                assert probe.call("count") > sent
        heir = lab.worker("host", NameHost)
        heir.call("prepare")
        assert heir.call("reconcile", ["agent0", "agent1"]) in ([], ["third"])
        assert flow.call("echo") == "open"
        assert lab.inside("agent0", lookup, GATEWAY, "web.example.com").values == [WEB]
        assert [watcher.call("hits") for watcher in watchers] == [[], [], []]
        assert probe.call("count") > 1000


def test_twin_the_probe_is_heard_without_rules(open_lab: Lab) -> None:
    watchers = listeners(open_lab)
    probe = open_lab.worker("agent0", Probe)
    deadline = netlab.time.monotonic() + netlab.DEADLINE
    while not all(watcher.call("hits") for watcher in watchers):
        assert netlab.time.monotonic() < deadline
    probe.kill()


def test_a_failing_transaction_changes_nothing(lab: Lab) -> None:
    lab.host.call("open_link", "agent0", GRANT)
    before = lab.host.call("objects")
    good = {"add": {"element": {"family": "inet", "table": "nullbox", "name": "uplinks", "elem": ["nb1"]}}}
    bad = {"delete": {"element": {"family": "inet", "table": "nullbox", "name": "uplinks", "elem": ["absent"]}}}
    with pytest.raises(NullBoxError, match="refused a firewall transaction"):
        lab.host.call("apply", [good, bad])
    assert lab.host.call("objects") == before

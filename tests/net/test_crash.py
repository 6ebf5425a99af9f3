"""Egress dies at every point of its work while an agent never stops trying: nothing opens, nothing granted breaks."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from pathlib import Path

import netlab
import pytest
import sizes
import traffic
from namelab import NameHost, NameServer, Zone, lookup
from netlab import WEB, Lab
from netspace import Worker
from traffic import Servers

from nullbox.chaos.board import Board, When
from nullbox.chaos.faults import Fault
from nullbox.chaos.points import POINTS
from nullbox.chaos.weave import weave
from nullbox.egress.policy import LinkPolicy, parse_policy
from nullbox.egress.slots import Slot
from nullbox.protocols.errors import NullBoxError

GRANT = parse_policy(["web.example.com"])
OTHER = parse_policy(["web.example.com", "more.example.com"], 100)
FORBIDDEN = 4444
GATEWAY = Slot(0).gateway


EFFECTS = [(number, point) for number, point in enumerate(POINTS) if "nullbox.egress" in point.target]
"""What egress does to the kernel: transactions and devices. Each is a fail point before and after it."""
SETS = ("agents", "sources", "resolvers", "live", "budgets")
CI_DEATHS = 24


class Mortal(NameHost):
    """A host that dies where the board says."""

    def __init__(self, board: Path) -> None:
        weave(Board(board), frozenset({"egress"}))
        super().__init__()

    def recover(self) -> dict[str, int]:
        """Come back as egress does; how much is in the kernel then, of whom there should be."""
        self.service.prepare()
        self.service.reconcile(["agent0", "agent1"])
        return {name: len(self.firewall.elements(name)) for name in SETS}

    def work(self) -> None:
        """Start, and change grants back and forth."""
        self.service.prepare()
        self.service.reconcile(["agent0", "agent1", "third"])
        for policy in (OTHER, GRANT, OTHER, LinkPolicy(), GRANT):
            self.service.open_link("third", policy)
            if policy.allow:
                self.service.pin("third", "web.example.com", [WEB], 60)
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


def passes(board: Board) -> dict[tuple[int, When], int]:
    return {(number, when): board.passes(number, when) for number, _ in EFFECTS for when in When}


def deaths(counts: dict[tuple[int, When], int]) -> list[tuple[int, When, int]]:
    """Every pass of every fail point that the work made: (point, before or after, passes to let go by)."""
    found = [(number, when, skip) for (number, when), count in counts.items() for skip in range(count)]
    assert {number for number, _, _ in found} == {number for number, _ in EFFECTS}, "the work passes every effect"
    if sizes.FULL:
        return found
    seed = int(os.environ.get("NULLBOX_SEED", time.time_ns() % 10**6))
    print(f"NULLBOX_SEED={seed}: {CI_DEATHS} of {len(found)} deaths")
    return random.Random(seed).sample(found, CI_DEATHS)


def listeners(lab: Lab) -> list[Worker]:
    make: Callable[[], Servers] = lambda: Servers(udp=[FORBIDDEN])  # noqa: E731
    return [lab.worker(role, make) for role in ("internet", "host", "agent1")]


def test_no_death_opens_anything_or_cuts_what_is_granted(tmp_path: Path) -> None:
    board = Board(tmp_path / "board")
    with Lab(host=NameHost) as lab:
        lab.host.call("prepare")
        for agent in ("agent0", "agent1"):
            lab.host.call("open_link", agent, GRANT)
        names = lab.worker("internet", NameServer)
        names.call("tell", {"web.example.com": Zone([WEB])})
        lab.worker("internet", lambda: Servers(tcp=[443]))
        watchers = listeners(lab)
        assert lab.inside("agent0", lookup, GATEWAY, "web.example.com").values == [WEB]
        flow = lab.worker("agent0", lambda: traffic.Flow(WEB, 443))
        lab.host.kill()
        probe = lab.worker("agent0", Probe)

        host = lab.worker("host", lambda: Mortal(tmp_path / "board"))
        clean = host.call("recover")
        before = passes(board)
        host.call("work")
        host.kill()
        for number, when, skip in deaths({place: count - before[place] for place, count in passes(board).items()}):
            what = f"{POINTS[number].name}, {when.name}, after {skip} others"
            host = lab.worker("host", lambda: Mortal(tmp_path / "board"))
            assert host.call("recover") == clean, f"something is left of a death before {what}"
            sent = probe.call("count")
            board.arm(number, when, Fault.SIGKILL, skip)
            with pytest.raises((EOFError, ConnectionResetError)):
                host.call("work")
            assert board.taken(), what
            board.disarm()
            assert flow.call("echo") == "open", what
            assert probe.call("count") > sent
        heir = lab.worker("host", lambda: Mortal(tmp_path / "board"))
        assert heir.call("recover") == clean
        assert flow.call("echo") == "open"
        assert lab.inside("agent0", lookup, GATEWAY, "web.example.com").values == [WEB]
        assert [watcher.call("hits") for watcher in watchers] == [[], [], []]
        assert probe.call("count") > 1000


def test_twin_the_probe_is_heard_without_rules(open_lab: Lab) -> None:
    watchers = listeners(open_lab)
    probe = open_lab.worker("agent0", Probe)
    deadline = time.monotonic() + traffic.DEADLINE
    while not all(watcher.call("hits") for watcher in watchers):
        assert time.monotonic() < deadline
    probe.kill()


def test_a_failing_transaction_changes_nothing(lab: Lab) -> None:
    lab.host.call("open_link", "agent0", GRANT)
    before = lab.host.call("objects")
    good = {"add": {"element": {"family": "inet", "table": "nullbox", "name": "uplinks", "elem": ["nb1"]}}}
    bad = {"delete": {"element": {"family": "inet", "table": "nullbox", "name": "uplinks", "elem": ["absent"]}}}
    with pytest.raises(NullBoxError, match="refused a firewall transaction"):
        lab.host.call("apply", [good, bad])
    assert lab.host.call("objects") == before

from __future__ import annotations

from typing import Any

import pytest

from nullbox.egress.events import KERNEL_KINDS, MAX_EVENTS, RECORDS, Deltas, Denial, EventLog, read_denials
from nullbox.egress.links import LEARNING, Link
from nullbox.egress.reasons import TEXT, Reason
from nullbox.egress.report import learned
from nullbox.egress.slots import Slot

AGENTS = {Slot(0): "pulse"}


def item(*key: Any, packets: int = 1) -> Any:
    value = {"concat": list(key)} if len(key) > 1 else key[0]
    return {"elem": {"val": value, "counter": {"packets": packets, "bytes": 60 * packets}}}


@pytest.mark.parametrize("protocol", ["tcp", 6])
def test_the_kernels_record_becomes_denials(protocol: object) -> None:
    found = read_denials(
        {
            "denied": [
                item("nb0", "45.0.0.1", protocol, 443, 5, packets=3),
                item("nb0", "45.0.0.1", protocol, 443, 3),
                item("nb0", "45.0.0.1", protocol, 443, 4),
            ],
            "denied_other": [item("nb0", "45.0.0.1", "icmp", 5), item("nb7", "45.0.0.2", 47, 1)],
            "spoofed": [item("nb0", packets=2)],
            "options": [item("nb0", packets=4)],
        },
        {Slot(0): 6, Slot(7): 0},
        AGENTS,
    )
    denials = [(d.agent, d.kind, d.address, d.protocol, d.port, d.reason, count) for d, count in found.values()]
    assert denials == [
        ("pulse", "packet", "45.0.0.1", "tcp", 443, TEXT[Reason.NO_GRANT], 3),
        ("pulse", "call budget", "45.0.0.1", "tcp", 443, TEXT[Reason.CALL_BUDGET], 1),
        ("pulse", "flow limit", "45.0.0.1", "tcp", 443, TEXT[Reason.FLOW_LIMIT], 1),
        ("pulse", "packet", "45.0.0.1", "icmp", 0, TEXT[Reason.NO_GRANT], 1),
        ("nb7", "packet", "45.0.0.2", "47", 0, TEXT[Reason.SPECIAL_ADDRESS], 1),
        ("pulse", "spoofed", "", "", 0, "the source address or MAC is not the agent's own", 2),
        ("pulse", "options", "", "", 0, "IPv4 options serve no agent", 4),
        ("pulse", "ipv6", "", "ipv6", 0, "agents have IPv4 only; every IPv6 packet of theirs is dropped", 6),
    ]
    assert {kind for _, kind, *_ in denials} == set(KERNEL_KINDS)


def test_only_what_is_new_is_reported() -> None:
    deltas = Deltas()

    def look(packets: int) -> list[int]:
        sets = {name: [] for name in RECORDS} | {"denied": [item("nb0", "45.0.0.1", "tcp", 443, 5, packets=packets)]}
        record = read_denials(sets, {}, AGENTS)
        return [denial.count for denial in deltas.new(record)]

    assert look(3) == [3]
    assert look(3) == []
    assert look(10) == [7]
    assert look(2) == [2], "the element expired and came back"
    assert deltas.new({}) == []
    assert look(1) == [1]


def test_equal_denials_are_one_entry_with_a_count() -> None:
    log = EventLog()
    for now in (10.0, 20.0):
        log.add(Denial("pulse", "packet", address="45.0.0.1", port=443, count=2), now)
    log.add(Denial("other", "packet"), 30.0)
    first, second = log.since()
    assert (first.count, first.first, first.last, first.seq) == (4, 10.0, 20.0, 2)
    assert log.since(2) == [second]
    assert log.since(0, "pulse") == [first]
    log.add(Denial("pulse", "packet", address="45.0.0.1", port=443), 40.0)
    assert [one.count for one in log.since(3)] == [5]


def test_the_log_is_bounded() -> None:
    log = EventLog()
    for number in range(MAX_EVENTS + 10):
        log.add(Denial("pulse", "packet", port=number), 0.0)
    assert len(log.since()) == MAX_EVENTS
    assert log.since()[0].port == 10


@pytest.mark.parametrize("protocol", ["tcp", 6])
def test_what_a_learning_agent_would_need(protocol: object) -> None:
    used = [
        item("nb0", "45.0.0.1", protocol, 443),
        item("nb0", "45.0.0.1", "udp", 443),
        item("nb1", "45.0.0.9", "tcp", 1),
    ]
    told = learned(Link(Slot(0), "pulse", {LEARNING: 1}), used, {"45.0.0.1": {"b.example", "a.example"}})
    assert told["allow"] == ["a.example:443", "b.example:443"]
    assert len(told["used"]) == 2

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from nullbox.egress import pins as module
from nullbox.egress.memory import MemoryFirewall
from nullbox.egress.pins import GRACE_S, Pin, Pins, read_pins
from nullbox.egress.ruleset import Base, base_commands

A, B = "45.0.0.1", "45.0.0.2"
WEB = [(443, 1)]


def firewall() -> MemoryFirewall:
    built = MemoryFirewall()
    built.apply(base_commands(Base()))
    return built


def held(kernel: MemoryFirewall) -> dict[Pin, int]:
    found = {}
    for item, mark in kernel.elements("grants"):
        _, address, _, port = item["elem"]["val"]["concat"]
        found[Pin(address, port)] = mark
    return found


def test_an_element_outlives_the_ttl_that_was_told() -> None:
    (command,) = Pins("nb0").grant(WEB, [A], 60, 100.0)
    assert command["add"]["element"]["elem"][0][0]["elem"]["timeout"] >= 60 + GRACE_S


def test_a_cached_answer_needs_no_transaction_and_a_fresh_one_renews() -> None:
    pins = Pins("nb0")
    pins.grant(WEB, [A], 60, 100.0)
    assert pins.grant(WEB, [A], 40, 120.0) == []
    assert [next(iter(command)) for command in pins.grant(WEB, [A], 60, 120.0)] == ["add", "delete", "add"]


def test_a_shared_address_passes_to_the_grant_that_stays() -> None:
    kernel, pins = firewall(), Pins("nb0")
    kernel.apply(pins.grant([(443, 1)], [A], 60, 0))
    kernel.apply(pins.grant([(443, 2)], [A], 60, 1))
    assert held(kernel) == {Pin(A, 443): 1}
    kernel.apply(pins.revoke([1], 2))
    assert held(kernel) == {Pin(A, 443): 2}
    kernel.apply(pins.revoke([2], 3))
    assert held(kernel) == {}


def test_too_many_destinations_are_withheld_and_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PINS", 2)
    pins = Pins("nb0")
    pins.grant(WEB, [A, B], 60, 0)
    with pytest.raises(OverflowError):
        pins.grant(WEB, ["45.0.0.3"], 60, 1)
    assert set(pins.current) == {Pin(A, 443), Pin(B, 443)}
    pins.grant(WEB, ["45.0.0.3"], 60, 1000)
    assert set(pins.current) == {Pin("45.0.0.3", 443)}


def test_learning_opens_every_port_of_an_address() -> None:
    kernel, pins = firewall(), Pins("nb0")
    kernel.apply(pins.grant([(0, 9)], [A], 60, 0))
    assert kernel.keys("learners") == {json.dumps({"concat": ["nb0", A]})}
    assert kernel.keys("grants") == set()
    assert read_pins(kernel.elements("learners"), 5)["nb0"].current == {Pin(A, 0): 9}


@given(st.lists(st.sampled_from([A, B]), unique=True, min_size=1), st.integers(0, 1000))
def test_what_is_read_back_is_what_was_put(addresses: list[str], ttl: int) -> None:
    kernel, pins = firewall(), Pins("nb0")
    kernel.apply(pins.grant(WEB, addresses, ttl, 10.0))
    assert read_pins(kernel.elements("grants"), 10.0)["nb0"].current == pins.current


class Machine(RuleBasedStateMachine):
    """Answers and revocations in any order, over a kernel that lets elements go when their time is up."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.kernel = firewall()
        self.pins = Pins("nb0")
        self.ends: dict[str, float] = {}
        self.fresh: dict[tuple[str, int], float] = {}

    def apply(self, commands: list[Any]) -> None:
        self.drop_expired()
        self.kernel.apply(commands)
        for command in commands:
            for item, _ in command.get("add", {}).get("element", {}).get("elem", []):
                self.ends[json.dumps(item["elem"]["val"])] = self.now + item["elem"]["timeout"]

    def drop_expired(self) -> None:
        grants = self.kernel.sets[("inet", "grants")]
        for key in [key for key in grants if self.ends[key] <= self.now]:
            del grants[key]

    @rule(address=st.sampled_from([A, B]), mark=st.integers(1, 3), ttl=st.integers(0, 90))
    def answer(self, address: str, mark: int, ttl: int) -> None:
        self.apply(self.pins.grant([(443, mark)], [address], ttl, self.now))
        key = (address, mark)
        self.fresh[key] = max(self.fresh.get(key, 0), self.now + ttl)

    @rule(mark=st.integers(1, 3))
    def revoke(self, mark: int) -> None:
        self.apply(self.pins.revoke([mark], self.now))
        self.fresh = {key: until for key, until in self.fresh.items() if key[1] != mark}

    @rule(seconds=st.floats(0, 100))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.drop_expired()

    @invariant()
    def every_fresh_answer_is_open_and_no_revoked_one_is(self) -> None:
        self.drop_expired()
        open_now = held(self.kernel)
        for (address, _), until in self.fresh.items():
            if until > self.now:
                assert Pin(address, 443) in open_now
        for pin, mark in open_now.items():
            assert (pin.address, mark) in self.fresh


TestPinsMachine = Machine.TestCase

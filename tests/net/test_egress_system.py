"""nulld.toml's `[egress]` in a real tree of real actors, and what an operator is told. Stand-ins run for VMs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from nullbox.chaos.standin import FORBIDDEN
from nullbox.chaos.world import World
from nullbox.client import NullBoxError, Nulld
from nullbox.protocols.errors import ErrorCode

EGRESS = """
[egress]
uplinks = ["up0", "eth9"]
upstreams = ["198.51.100.2"]
exceptions = ["10.1.0.0/16"]
learn = true
"""


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with World(egress=EGRESS) as built:
        yield built


def elements(world: World, kind: str, name: str) -> list[Any]:
    listing = json.loads(world.inside("nft", "-j", "list", kind, "inet", "nullbox", name))["nftables"]
    return [element for item in listing if kind in item for element in item[kind].get("elem", [])]


def test_the_table_reaches_the_kernel(world: World) -> None:
    assert sorted(elements(world, "set", "uplinks")) == ["eth9", "up0"]
    assert {"prefix": {"addr": "10.1.0.0", "len": 16}} not in elements(world, "set", "special")


def test_the_operator_is_shown_it(world: World) -> None:
    assert world.ask("status")["egress"] == {
        "uplinks": ["up0", "eth9"],
        "upstreams": ["198.51.100.2"],
        "exceptions": ["10.1.0.0/16"],
        "learn": True,
    }
    rules = world.ask("egress.rules")
    assert rules["exceptions"] == ["10.1.0.0/16"]
    assert [link["calls_per_hour"] for link in rules["links"]] == [60, 60]


def test_refusals_are_in_the_log_and_among_the_events(world: World) -> None:
    def events() -> bool:
        found = world.ask("events", limit=200)["events"]
        return any(
            (each["kind"], each["child"], each.get("address")) == ("denied", "cage:alpha", FORBIDDEN) for each in found
        )

    world.wait(events, 20.0, "the refusal among the events")
    with Nulld(world.layout.gateway_socket) as nulld:
        denial = next(iter(nulld.egress_log_follow("alpha")))
    assert (denial["agent"], denial["address"], denial["port"], denial["protocol"]) == ("alpha", FORBIDDEN, 4444, "udp")
    why = world.ask("egress.explain", agent="alpha", target=f"{FORBIDDEN}:4444")
    assert (why["allowed"], why["rule"]) == (False, "special-purpose address")


def test_learning_is_switched_on_and_off(world: World) -> None:
    def learning(agent: str) -> bool:
        [link] = world.ask("egress.rules", agent=agent)["links"]
        return bool(link["learning"])

    assert world.ask("egress.learn", agent="alpha") == {"agent": "alpha", "learning": True, "used": [], "allow": []}
    assert (learning("alpha"), learning("beta")) == (True, False)
    assert world.ask("egress.learn", agent="alpha", on=False)["learning"] is False
    assert not learning("alpha")
    with pytest.raises(NullBoxError) as caught:
        world.ask("egress.learn", agent="nobody")
    assert caught.value.code is ErrorCode.NOT_FOUND

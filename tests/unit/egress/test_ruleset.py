"""The compiled ruleset. Goldens in tests/golden/egress are rewritten with NULLBOX_UPDATE_GOLDEN=1."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from nullbox.egress.chains import ARP_CHAINS, CHAINS
from nullbox.egress.links import Link, change, removal
from nullbox.egress.nft import guard
from nullbox.egress.policy import parse_policy
from nullbox.egress.reasons import TEXT, Reason
from nullbox.egress.ruleset import Base, base_commands, prefix
from nullbox.egress.sets import SETS
from nullbox.egress.slots import Slot

GOLDEN = Path(__file__).parents[2] / "golden" / "egress"
BASE = Base(("eth0",), ("127.0.0.0/8", "168.63.129.16/32"))


def check_golden(name: str, commands: list[Any]) -> None:
    text = "".join(json.dumps(command, sort_keys=True) + "\n" for command in commands)
    path = GOLDEN / f"{name}.jsonl"
    if os.environ.get("NULLBOX_UPDATE_GOLDEN"):
        path.write_text(text)
    assert path.read_text() == text


def test_the_base_ruleset() -> None:
    check_golden("base", base_commands(BASE))


def test_a_new_link() -> None:
    policy = parse_policy(["api.example.com", "*.example.org:8443"], 200)
    _, commands, _ = change(None, Slot(65), "researcher", policy, 7)
    check_golden("link-new", commands)


def test_a_changed_link() -> None:
    link, _, mark = change(None, Slot(0), "a", parse_policy(["keep.example.com", "drop.example.com"], 10), 1)
    _, commands, _ = change(link, Slot(0), "a", parse_policy(["keep.example.com", "new.example.com"], 0), mark)
    check_golden("link-changed", commands)


def test_a_removed_link() -> None:
    link, _, _ = change(None, Slot(0), "a", parse_policy(["keep.example.com"], 10), 1)
    check_golden("link-removed", removal(link))


def test_compiling_is_deterministic() -> None:
    assert base_commands(BASE) == base_commands(BASE)


def test_every_command_passes_the_guard() -> None:
    guard(base_commands(BASE))
    guard(removal(Link(Slot(1), "a", {"x.example:443": 3}, 5)))


def test_a_hook_that_an_agent_can_reach_drops_by_default() -> None:
    policies = {chain.hook: chain.policy for chain in CHAINS if chain.hook in ("input", "forward")}
    assert policies == {"input": "drop", "forward": "drop"}
    assert [chain.policy for chain in ARP_CHAINS] == ["drop"]


def test_every_jump_leads_to_a_chain_declared_before() -> None:
    declared: set[str] = set()
    for chain in CHAINS:
        for rule in chain.rules:
            for statement in rule:
                for verb in ("jump", "goto"):
                    if verb in statement:
                        assert statement[verb]["target"] in declared
        declared.add(chain.name)


def test_every_set_named_by_a_rule_exists() -> None:
    names = {f"@{spec.name}" for spec in SETS}
    text = json.dumps([list(rule) for chain in CHAINS for rule in chain.rules])
    used = {word.strip('"') for word in text.replace("}", " ").replace(",", " ").split() if word.startswith('"@')}
    assert used <= names
    assert names - used == {"@generation"}, "a set that no rule reads"


def test_sets_that_rules_fill_are_bounded() -> None:
    for spec in SETS:
        filled = any(
            statement.get("set", {}).get("set") == f"@{spec.name}"
            for chain in CHAINS
            for rule in chain.rules
            for statement in rule
            if isinstance(statement.get("set"), dict)
        )
        assert not filled or spec.size is not None, f"an agent could grow {spec.name} without end"


def test_every_reason_has_a_text() -> None:
    assert set(TEXT) == set(Reason)


def test_sets_that_are_there_are_not_declared_again() -> None:
    present = [("inet", spec.name) for spec in SETS] + [("arp", "sources")]
    kinds = [kind for command in base_commands(BASE, present) for body in command.values() for kind in body]
    assert "map" not in kinds
    assert kinds.count("set") == 2, "only the two whose members the configuration gives are emptied"


@pytest.mark.parametrize(
    ("cidr", "form"),
    [("10.0.0.0/8", {"prefix": {"addr": "10.0.0.0", "len": 8}}), ("1.2.3.4/32", "1.2.3.4"), ("1.2.3.4", "1.2.3.4")],
)
def test_writing_blocks(cidr: str, form: Any) -> None:
    assert prefix(cidr) == form

"""One agent's link: which marks its grants have, and which transaction turns one state into another. Pure.

A mark is given out once and never again while the table exists (the kernel keeps the next one in the set
`generation`), so a flow whose grant was revoked can never come back to life under somebody else's mark.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from nullbox.egress import expr as e
from nullbox.egress.expr import Command
from nullbox.egress.policy import Grant, LinkPolicy, parse_grant
from nullbox.egress.ruleset import element, link_commands
from nullbox.egress.sets import TABLE
from nullbox.egress.slots import Slot, slot_of_tap
from nullbox.protocols.errors import ErrorCode, NullBoxError

FIRST_MARK = 1
LAST_MARK = 0xFFFF_FFFF
LEARNING = "learn"
"""The text under which a learning agent's mark is kept. No grant has it, since a grant has a port."""


@dataclass(frozen=True, slots=True)
class Link:
    """What the kernel holds for one agent.

    marks: grant text → its mark.
    budget: calls per hour, 0 if there is no limit object.
    """

    slot: Slot
    agent: str
    marks: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    budget: int = 0


@dataclass(frozen=True, slots=True)
class LinkInfo:
    """What a cage needs to attach an agent: the fields of the message `LinkReady`."""

    agent: str
    tap: str
    mac: str
    guest_address: str
    gateway_address: str
    prefix: int


def limit_of(calls_per_hour: int) -> tuple[int, int]:
    """Rate per hour and burst of the token bucket that lets at most `calls_per_hour` through in any hour.

    A full bucket gives its burst at once and its rate over the hour, so the two together must not exceed the budget:
    burst + rate - 1 = budget (the rate's last token falls on the hour's end). A tenth of the budget may come at once.
    """
    burst = max(1, calls_per_hour // 10)
    return calls_per_hour - burst + 1, burst


def change(
    old: Link | None, new_slot: Slot, agent: str, policy: LinkPolicy, next_mark: int
) -> tuple[Link, list[Command], int]:
    """The transaction that gives `agent` exactly what `policy` grants, from what it has now.

    Flows of grants that stay go on; flows of grants that go are cut.

    Returns:
        The new link, the commands, the next free mark.

    Raises:
        NullBoxError: `unavailable`, all marks are used up.
    """
    wanted = {grant.text for grant in policy.allow} | ({LEARNING} if policy.learn else set())
    had = dict(old.marks) if old is not None else {}
    marks = {text: mark for text, mark in had.items() if text in wanted}
    commands = [] if old is not None else link_commands(new_slot, agent)
    gone = [mark for text, mark in sorted(had.items()) if text not in wanted]
    if gone:
        commands.append(element("delete", "live", [e.concat(new_slot.tap, mark) for mark in gone]))
    added = []
    for text in sorted(wanted - set(had)):
        if next_mark > LAST_MARK:
            raise NullBoxError(ErrorCode.UNAVAILABLE, "all generation marks are used up; reboot to start anew")
        marks[text] = next_mark
        added.append({"elem": {"val": e.concat(new_slot.tap, next_mark), "comment": comment(text)}})
        next_mark += 1
    if added:
        commands.append(element("add", "live", added))
        commands.append({"flush": {"set": {"family": "inet", "table": TABLE, "name": "generation"}}})
        commands.append(element("add", "generation", [next_mark]))
    budget = old.budget if old is not None else 0
    if budget != policy.calls_per_hour:
        commands += _budget_commands(new_slot, budget, policy.calls_per_hour)
    return Link(new_slot, agent, MappingProxyType(marks), policy.calls_per_hour), commands, next_mark


def removal(link: Link) -> list[Command]:
    """The transaction after which the kernel knows nothing of this link any more."""
    commands = []
    if link.marks:
        marks = sorted(link.marks.values())
        commands.append(element("delete", "live", [e.concat(link.slot.tap, mark) for mark in marks]))
    if link.budget:
        commands += _budget_commands(link.slot, link.budget, 0)
    return commands + link_commands(link.slot, link.agent, verb="delete")


MAX_COMMENT = 127
"""nftables keeps at most 128 octets of comment with the final NUL (NFTNL_UDATA_COMMENT_MAXLEN)."""


def comment(text: str) -> str:
    """A grant's text as it fits into an element's comment. A longer one is not recognised after a restart: its flows
    are cut then, which is the safe side."""
    return text if len(text) <= MAX_COMMENT else text[: MAX_COMMENT - 1] + "~"


def read_links(
    agents: Iterable[Any], live: Iterable[Any], budgets: Iterable[Any], limits: Mapping[str, int]
) -> list[Link]:
    """The links that the kernel holds, from its listings of the sets `agents`, `live` and `budgets`.

    Args:
        limits: name of a limit object → calls per hour.
    """
    marks: dict[str, dict[str, int]] = {}
    for item in live:
        value, text = _value_and_comment(item)
        tap, mark = value["concat"]
        known = marks.setdefault(tap, {})
        # Two texts that were cut to the same one are still two marks, and both have to go one day.
        known[text if text not in known else f"{text} {mark} ~"] = int(mark)
    budget = {tap: limits.get(name, 0) for tap, name in budgets}
    links = []
    for item in agents:
        tap, agent = _value_and_comment(item)
        slot = slot_of_tap(tap)
        if slot is not None:
            links.append(Link(slot, agent, MappingProxyType(marks.get(tap, {})), budget.get(tap, 0)))
    return sorted(links, key=lambda link: link.slot)


def read_limits(objects: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """Name → calls per hour, from a listing of the table's objects."""
    found = {}
    for item in objects:
        body = item.get("limit")
        if body is not None:
            found[body["name"]] = int(body["rate"]) + int(body.get("burst", 1)) - 1
    return found


def grants_of(link: Link) -> list[Grant]:
    """The grants behind a link's marks. The kernel keeps them as text, so they survive a restart."""
    return [parse_grant(text) for text in link.marks if text != LEARNING and not text.endswith("~")]


def marks_for(link: Link, name: str) -> list[tuple[int, int]]:
    """(port, mark) of every grant that covers `name`; port 0, which is any, for a learning agent."""
    if LEARNING in link.marks:
        return [(0, link.marks[LEARNING])]
    return [(grant.port, link.marks[grant.text]) for grant in grants_of(link) if grant.covers_name(name)]


def _value_and_comment(item: Any) -> tuple[Any, str]:
    if isinstance(item, dict) and "elem" in item:
        return item["elem"]["val"], item["elem"].get("comment", "")
    return item, ""


def _budget_commands(slot: Slot, old: int, new: int) -> list[Command]:
    """Replace the limit object of a link. The map's element goes first: an object in use cannot be deleted."""
    name = f"calls_{slot.number}"
    place = {"family": "inet", "table": TABLE, "name": name}
    commands: list[Command] = []
    if old:
        commands.append(element("delete", "budgets", [[slot.tap, name]]))
        commands.append({"delete": {"limit": place}})
    if new:
        rate, burst = limit_of(new)
        limit = {**place, "rate": rate, "per": "hour", "burst": burst, "inv": True}
        commands.append({"add": {"limit": limit}})
        commands.append(element("add", "budgets", [[slot.tap, name]]))
    return commands

"""The table of handlers: one per class, total over the methods that look like handlers."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from nullbox.actors import dispatch
from nullbox.actors.base import BaseActor
from nullbox.protocols.messages import REGISTRY, Peers, Ping, Query, Start, Stop


@pytest.mark.parametrize(
    ("tag", "method"),
    [("Ping", "on_ping"), ("TreeQuery", "on_tree_query"), ("LinkReady", "on_link_ready"), ("DNSReply", "on_dns_reply")],
)
def test_methods_are_named_after_messages(tag: str, method: str) -> None:
    assert dispatch.method_name(tag) == method


def test_no_two_messages_share_a_method() -> None:
    assert len({dispatch.method_name(tag) for tag in REGISTRY}) == len(REGISTRY)


def test_the_table_holds_own_and_inherited_handlers() -> None:
    class Mine(BaseActor):
        def on_query(self, query: Query, sender: object) -> None: ...

    table = dispatch.table(Mine, REGISTRY)
    assert table[Query] == "on_query"
    assert {Start, Stop, Ping, Peers} <= set(table)


def test_a_handler_of_no_message_is_a_programming_error() -> None:
    class Misspelt(BaseActor):
        def on_qery(self, query: Query, sender: object) -> None: ...

    with pytest.raises(TypeError, match=r"on_qery matches no registered message"):
        dispatch.table(Misspelt, REGISTRY)


def test_messages_of_another_registry_do_not_count() -> None:
    @dataclass
    class Other:
        x: int

    assert dispatch.table(type("A", (), {"on_other": lambda self: None}), {"Other": Other}) == {Other: "on_other"}

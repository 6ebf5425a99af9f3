"""The few expressions and statements of libnftables' JSON that the ruleset is written in. Pure.

Schema: libnftables-json(5). Each function returns a fresh value.
"""

from __future__ import annotations

from typing import Any

Expr = Any
Statement = dict[str, Any]
Command = dict[str, Any]

IIF: Expr = {"meta": {"key": "iifname"}}
OIF: Expr = {"meta": {"key": "oifname"}}
L4PROTO: Expr = {"meta": {"key": "l4proto"}}
PACKET_MARK: Expr = {"meta": {"key": "mark"}}
CT_MARK: Expr = {"ct": {"key": "mark"}}


def field(protocol: str, name: str) -> Expr:
    return {"payload": {"protocol": protocol, "field": name}}


SADDR = field("ip", "saddr")
DADDR = field("ip", "daddr")
DPORT = field("th", "dport")
SPORT = field("th", "sport")


def concat(*parts: Expr) -> Expr:
    return {"concat": list(parts)}


def match(left: Expr, right: Expr, op: str = "==") -> Statement:
    return {"match": {"op": op, "left": left, "right": right}}


def state(*states: str) -> Statement:
    return match({"ct": {"key": "state"}}, list(states), "in")


def direction(which: str) -> Statement:
    return match({"ct": {"key": "direction"}}, which)


def update(set_name: str, key: Expr, *statements: Statement, op: str = "update") -> Statement:
    body: dict[str, Any] = {"op": op, "elem": key, "set": f"@{set_name}"}
    if statements:
        body["stmt"] = list(statements)
    return {"set": body}


def jump(chain: str) -> Statement:
    return {"jump": {"target": chain}}


def goto(chain: str) -> Statement:
    return {"goto": {"target": chain}}


def set_mark(value: int) -> Statement:
    """Stamp the packet (not its flow) with a number; it travels no further than this host."""
    return {"mangle": {"key": PACKET_MARK, "value": value}}


COUNTER: Statement = {"counter": None}
ACCEPT: Statement = {"accept": None}
DROP: Statement = {"drop": None}
RETURN: Statement = {"return": None}
NOTRACK: Statement = {"notrack": None}

"""A whole tree from its parts: each supervisor knows its own children, and asks those that are supervisors. Pure.

Nobody waits: an answer that is not there when the time is over is left out, and its node says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from nullbox.protocols.messages import Address

PATIENCE = 1.0
"""Seconds a supervisor waits for the answers of its children."""


@dataclass(slots=True)
class Gathering:
    """One question for the tree that is being answered.

    nodes: our own. missing: mailbox → id of the child supervisors that have not answered yet.
    """

    asker: Address
    request_id: int
    nodes: list[dict[str, Any]]
    missing: dict[Address, str]
    subtrees: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def take(self, sender: Address, nodes: object) -> bool:
        """A child's answer. True when it was the last one missing."""
        child = self.missing.pop(sender, None)
        if child is not None and isinstance(nodes, list) and nodes:
            self.subtrees[child] = nodes
        return not self.missing

    def result(self) -> list[dict[str, Any]]:
        """Our nodes, each supervisor's own children right after it."""
        tree: list[dict[str, Any]] = []
        for node in self.nodes:
            tree.append(node)
            below = self.subtrees.get(node["id"])
            if below is not None:
                node["detail"] = {**below[0]["detail"], **node["detail"]}
                tree += below[1:]
            elif node["id"] in self.missing.values():
                node["detail"] = {**node["detail"], "subtree": f"no answer within {PATIENCE:g} s"}
        return tree

"""Where a supervisor's children are: mailboxes by name and incarnation, and who is told about whom. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from nullbox.protocols.messages import Address
from nullbox.supervision.spec import ALL_PEERS, ChildSpec
from nullbox.supervision.state import ChildState, State


@dataclass(slots=True)
class Handles:
    """The present mailbox of each child that has one, and the child behind each mailbox."""

    addresses: dict[str, Address] = field(default_factory=dict)
    children: dict[Address, tuple[str, int]] = field(default_factory=dict)

    def add(self, child: str, incarnation: int, address: Address) -> None:
        self.addresses[child] = address
        self.children[address] = (child, incarnation)

    def get(self, child: str, incarnation: int) -> Address | None:
        """Where that incarnation is; None when it is no longer, or not yet, there."""
        address = self.addresses.get(child)
        if address is None or self.children.get(address) != (child, incarnation):
            return None
        return address

    def who(self, address: Address) -> tuple[str, int] | None:
        """The child and incarnation behind a mailbox; None for a stranger."""
        return self.children.get(address)

    def drop(self, address: Address) -> tuple[str, int] | None:
        """Forget a mailbox whose process is gone. Returns whose it was."""
        known = self.children.pop(address, None)
        if known is not None and self.addresses.get(known[0]) == address:
            del self.addresses[known[0]]
        return known

    def peers_of(self, state: State, child: str) -> dict[str, Address]:
        """The mailboxes that a child is given: those of the peers it may know, while they are ready."""
        spec = state.children[child].spec
        return {
            name: self.addresses[name]
            for name, other in state.children.items()
            if other.state is ChildState.RUNNING and name != child and knows(spec, name)
        }

    def those_who_know(self, state: State, peer: str) -> list[str]:
        """The living children that are told when `peer` becomes ready or is no longer."""
        return [
            name
            for name, child in state.children.items()
            if child.alive and name != peer and name in self.addresses and knows(child.spec, peer)
        ]


def knows(spec: ChildSpec, name: str) -> bool:
    """Whether a child of this spec is given the mailbox of that sibling."""
    return name in spec.depends_on or name in spec.peers or ALL_PEERS in spec.peers

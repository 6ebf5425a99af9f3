"""Who may do what at the gateway: roles from the peer's identity and nulld.toml. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.call import Peer

PORT_CHANNEL = "virtio-serial"
"""The channel of whoever runs the machine: it can read the disk and the memory, so it is an operator."""

HOST_CID = 2
"""The context id of the host of this machine (vsock(7), VMADDR_CID_HOST): the same person."""


class Role(StrEnum):
    """OPERATOR may call everything, READER what changes nothing."""

    READER = "reader"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Identities:
    """Users and groups that have a role. A group counts as a peer's primary or supplementary one."""

    uids: frozenset[int] = frozenset()
    gids: frozenset[int] = frozenset()

    def include(self, peer: Peer) -> bool:
        groups = peer.groups if peer.gid is None else peer.groups | {peer.gid}
        return peer.uid in self.uids or not self.gids.isdisjoint(groups)


@dataclass(frozen=True, slots=True)
class Roles:
    """The `[gateway]` section: `operators` and `readers`."""

    operators: Identities = Identities(uids=frozenset({0}))
    readers: Identities = Identities()

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Roles:
        """From `{"operators": {"uids": [0]}, "readers": {"gids": [4]}}`; what is left out has its default."""
        default = cls()
        return cls(
            _identities(config["operators"]) if "operators" in config else default.operators,
            _identities(config["readers"]) if "readers" in config else default.readers,
        )

    def of(self, peer: Peer) -> Role | None:
        """The peer's role; None for a stranger."""
        if peer.channel == PORT_CHANNEL or peer.cid == HOST_CID:
            return Role.OPERATOR
        if peer.cid is not None:
            return None  # another machine, or somebody in this one whom vsock cannot name
        if self.operators.include(peer):
            return Role.OPERATOR
        return Role.READER if self.readers.include(peer) else None

    def check(self, peer: Peer, needed: Role, method: str) -> None:
        """Raises NullBoxError `denied`, saying which line of nulld.toml would allow it."""
        has = self.of(peer)
        if has is Role.OPERATOR or has is needed:
            return
        section = "operators" if needed is Role.OPERATOR else "readers"
        who = f"uid {peer.uid}" if peer.cid is None else f"vsock peer {peer.cid}"
        role = f"{who} is a {has}" if has else f"{who} has no role here"
        message = f"{method} needs the role {needed}, and {role}; [gateway] {section} in nulld.toml grants it"
        raise NullBoxError(ErrorCode.DENIED, message)

    @property
    def socket_mode(self) -> int:
        """Mode of the socket: for root alone if nobody else has a role, else open, and the role decides."""
        everyone = [self.operators, self.readers]
        only_root = all(not who.gids and who.uids <= {0} for who in everyone)
        return 0o600 if only_root else 0o666


def _identities(value: Mapping[str, Any]) -> Identities:
    return Identities(frozenset(value.get("uids", ())), frozenset(value.get("gids", ())))

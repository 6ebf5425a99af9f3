"""Who may do what, from the peer's identity alone."""

from __future__ import annotations

import pytest

from nullbox.gateway.roles import PORT_CHANNEL, Role, Roles
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.call import Peer

ROLES = Roles.from_config({"operators": {"uids": [0, 1000]}, "readers": {"uids": [2000], "gids": [4]}})


@pytest.mark.parametrize(
    ("peer", "role"),
    [
        (Peer(uid=0, gid=0), Role.OPERATOR),
        (Peer(uid=1000, gid=1000), Role.OPERATOR),
        (Peer(uid=2000, gid=2000), Role.READER),
        (Peer(uid=3000, gid=4), Role.READER),
        (Peer(uid=3000, gid=3000, groups=frozenset({4})), Role.READER),
        (Peer(uid=3000, gid=3000), None),
        (Peer(channel=PORT_CHANNEL), Role.OPERATOR),
        (Peer(channel="elsewhere"), None),
        (Peer(channel="vsock", cid=2), Role.OPERATOR),
        (Peer(channel="vsock", cid=1), None),
        (Peer(channel="vsock", cid=3), None),
        (Peer(channel="vsock", cid=3, uid=0), None),
    ],
)
def test_roles(peer: Peer, role: Role | None) -> None:
    assert ROLES.of(peer) is role


def test_a_refusal_names_the_section_that_would_allow_it() -> None:
    ROLES.check(Peer(uid=2000), Role.READER, "status")
    with pytest.raises(NullBoxError, match=r"agent.stop needs the role operator.*reader.*operators") as caught:
        ROLES.check(Peer(uid=2000), Role.OPERATOR, "agent.stop")
    assert caught.value.code is ErrorCode.DENIED
    with pytest.raises(NullBoxError, match=r"has no role here.*readers"):
        ROLES.check(Peer(uid=3000), Role.READER, "status")
    with pytest.raises(NullBoxError, match="vsock peer 7 has no role here"):
        ROLES.check(Peer(channel="vsock", cid=7), Role.READER, "status")


def test_the_socket_is_open_only_as_far_as_somebody_has_a_role() -> None:
    assert Roles().socket_mode == 0o600
    assert Roles.from_config({"operators": {"uids": [0]}, "readers": {"gids": []}}).socket_mode == 0o600
    assert ROLES.socket_mode == 0o666
    assert Roles.from_config({"operators": {"uids": []}}).of(Peer(uid=0)) is None

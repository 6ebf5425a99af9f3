"""Names say which process may use them."""

from __future__ import annotations

import pytest

from nullbox.actors.transport import naming


def verdict(name: str, pid: int, uid: int = 0) -> str | None:
    return naming.is_acceptable(name, pid, uid, admin_pid=77, own_uid=0)


def test_a_process_may_use_its_own_names() -> None:
    assert verdict(naming.name(naming.ACTOR, 12, 1), 12) is None
    assert verdict(naming.name(naming.EXTERNAL, 12, naming.serial()), 12) is None
    assert verdict("admin", 77) is None


def test_it_may_not_use_another_ones() -> None:
    assert verdict("actor.12.1", 13) == "it belongs to pid 12, and the peer is pid 13"
    assert verdict("admin", 13) == "it belongs to pid 77, and the peer is pid 13"


def test_another_uid_may_use_none() -> None:
    assert verdict("actor.12.1", 12, uid=65534) == "uid 65534 is not 0"


@pytest.mark.parametrize(
    "name",
    ["", "actor", "actor.12", "actor.x.1", "actor.012.1", "actor.12.1\n", "../actor.12.1", "root.12.1", "admin "],
)
def test_other_names_are_nobodys(name: str) -> None:
    assert verdict(name, 12) == "not the name of a mailbox"


def test_nobody_is_the_administrator_before_there_is_one() -> None:
    assert naming.owner_pid("admin", 0) is None


def test_a_pid_that_is_given_anew_does_not_make_the_same_name() -> None:
    serials = [naming.serial() for _ in range(1000)]
    assert sorted(set(serials)) == serials
    assert all(verdict(naming.name(naming.ACTOR, 12, serial), 12) is None for serial in serials)

"""The bridge between a loop and the actors: a question to the dead is answered once, by whoever notices first."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from nullbox.actors.asking import Bridge
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import Address, Query

EGRESS = Address("actor.5.5")


class Owner:
    """An actor whose every `tell` fails. `notices`: the failure is reported to it before `tell` returns, as the
    transport does when it finds the other's socket closed."""

    def __init__(self, notices: bool) -> None:
        self.parent = Address("actor.1.1")
        self.peers = {"egress": EGRESS}
        self.bridge: Any = SimpleNamespace(lost=lambda address: None)
        self._notices = notices

    def call_in_actor(self, function: Any, *arguments: Any) -> None:
        function(*arguments)

    def tell(self, address: Address, message: Any) -> bool:
        if self._notices:
            self.bridge.lost(address)
        return False


@pytest.mark.parametrize("notices", [False, True])
def test_a_question_to_an_actor_that_is_found_dead_while_it_is_sent_is_unavailable(notices: bool) -> None:
    owner = Owner(notices)
    owner.bridge = Bridge(owner, "nulld")  # type: ignore[arg-type]
    with pytest.raises(NullBoxError, match="egress does not run now") as caught:
        asyncio.run(asyncio.wait_for(owner.bridge.ask("egress", Query(0, "links", {})), 10))
    assert caught.value.code is ErrorCode.UNAVAILABLE

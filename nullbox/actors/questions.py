"""How an actor answers a question: `Reply` with the value, or `Failure` with the code of the error."""

from __future__ import annotations

from collections.abc import Callable

from nullbox.actors.base import BaseActor
from nullbox.protocols.errors import NullBoxError
from nullbox.protocols.messages import Address, Failure, Reply


def answer(actor: BaseActor, sender: Address, request_id: int, work: Callable[[], object]) -> None:
    """Do the work and send what came of it. Only errors that are part of a contract are answers; others are crashes."""
    try:
        value = work()
    except NullBoxError as error:
        refuse(actor, sender, request_id, error)
    else:
        actor.tell(sender, Reply(request_id, value))


def refuse(actor: BaseActor, sender: Address, request_id: int, error: NullBoxError) -> None:
    """Say that the request of that id failed, and why."""
    actor.tell(sender, Failure(request_id, error.code.value, error.message))

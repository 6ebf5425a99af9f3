"""What the gateway needs of the actor system around it."""

from __future__ import annotations

from typing import Any, Protocol

ROOT = "nulld"
EGRESS = "egress"
CTXGRAPH = "ctxgraph"


class Backend(Protocol):
    """Asks actors on behalf of the gateway; the gateway's actor implements it."""

    async def ask(self, target: str, message: Any) -> Any:
        """Send a request to an actor and wait for its answer.

        Args:
            target: `nulld` or the id of a child (`egress`, `cage:pulse`).
            message: a request of `protocols.messages`; its `request_id` is replaced.

        Returns:
            The `value` of its `Reply`.

        Raises:
            NullBoxError: the actor's `Failure`; `unavailable` if there is no such actor now or it ended before it
                answered. May be cancelled: a late answer is dropped then.
        """
        ...

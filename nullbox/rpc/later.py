"""A result that a handler does not have yet, at a fraction of what a task costs. To be used in one loop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Generator
from typing import Any

from nullbox.protocols.errors import NullBoxError

log = logging.getLogger(__name__)

Taken = Callable[[Any], None]


class Later:
    """Return one from a handler, and `settle` it when the result is there.

    One party takes the outcome: `then`, or `await`. It is told within `settle`, not in a later turn of the loop:
    results that become known together go out together. `settled`: the outcome is there.
    """

    __slots__ = ("_outcome", "_taken", "settled")

    def __init__(self) -> None:
        self.settled = False
        self._outcome: Any = None
        self._taken: Taken | None = None

    def settle(self, outcome: Any) -> None:
        """outcome: the value, or the NullBoxError that stands in its place. Only the first counts."""
        if self.settled:
            return
        self.settled = True
        self._outcome = outcome
        if self._taken is not None:
            self._tell(self._taken)

    def then(self, taken: Taken) -> None:
        """Have `taken` called with the outcome; at once, if it is there."""
        self._taken = taken
        if self.settled:
            self._tell(taken)

    def __await__(self) -> Generator[Any, None, Any]:
        """The value. Raises the NullBoxError."""
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.then(lambda outcome: None if future.done() else future.set_result(outcome))
        outcome = yield from future.__await__()
        if isinstance(outcome, NullBoxError):
            raise outcome
        return outcome

    def _tell(self, taken: Taken) -> None:
        try:
            taken(self._outcome)
        except Exception:
            log.exception("whoever waited for a result failed to take it")

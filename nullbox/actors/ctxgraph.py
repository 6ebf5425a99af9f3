"""The actor that owns the shared memory. The store and its servers live in `nullbox.ctxgraph`, on a thread of their
own: agents' requests never pass through this actor's mailbox."""

from __future__ import annotations

from nullbox.actors import process
from nullbox.actors.base import BaseActor
from nullbox.actors.questions import answer, refuse
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import (
    Address,
    ChannelReady,
    CloseChannel,
    ExitReason,
    OpenChannel,
    Ping,
    Query,
    Start,
    Stop,
)


class CtxgraphActor(BaseActor):
    """Ready once the store is open and every remembered channel is served again."""

    def started(self, start: Start) -> None:
        self._service = CtxgraphService()
        self._service.start(Layout.from_plain(start.config["layout"]))
        self.ready()
        process.give_back()

    def stopping(self, stop: Stop) -> None:
        self._service.stop()
        self.exit(ExitReason("shutdown", stop.reason))

    def on_ping(self, ping: Ping, sender: Address) -> None:
        """Alive means that the store answers, not that this mailbox does: a failed or hung store ends the actor."""
        try:
            self._service.health()
        except NullBoxError as error:
            self.exit(ExitReason("failed", error.message))
        super().on_ping(ping, sender)

    def on_open_channel(self, message: OpenChannel, sender: Address) -> None:
        try:
            path = self._service.open_channel(message.agent, message.read, message.write, message.uid)
        except NullBoxError as error:
            refuse(self, sender, message.request_id, error)
            return
        self.tell(sender, ChannelReady(message.request_id, message.agent, str(path)))

    def on_close_channel(self, message: CloseChannel, sender: Address) -> None:
        self._service.close_channel(message.agent)

    def on_query(self, message: Query, sender: Address) -> None:
        answer(self, sender, message.request_id, lambda: self._query(message))

    def _query(self, message: Query) -> object:
        if message.verb == "health":
            return self._service.health()
        if message.verb == "log":
            return self._service.denials(message.params.get("since", 0))
        raise NullBoxError(ErrorCode.INVALID, f"ctxgraph does not know {message.verb!r}; it knows: health, log")

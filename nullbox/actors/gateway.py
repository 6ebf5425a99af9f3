"""The actor behind the operator's socket. Requests are served by `nullbox.gateway` on a thread of its own; this asks
the other actors on its behalf."""

from __future__ import annotations

from nullbox.actors.asking import Bridge
from nullbox.actors.base import BaseActor
from nullbox.actors.transport.outbox import Delivery
from nullbox.gateway.backend import ROOT
from nullbox.gateway.service import GatewayService
from nullbox.protocols.errors import NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import Address, ExitReason, Failure, Peers, Ping, Reply, Start, Stop


class GatewayActor(BaseActor):
    """Ready once the socket listens."""

    def started(self, start: Start) -> None:
        self._bridge = Bridge(self, ROOT)
        self._service = GatewayService(self._bridge, Layout.from_plain(start.config["layout"]), start.config)
        try:
            self._service.start()
        except NullBoxError as error:
            self.exit(ExitReason("failed", error.message))
        self.ready()

    def stopping(self, stop: Stop) -> None:
        self._service.stop()
        self.exit(ExitReason("shutdown", stop.reason))

    def on_ping(self, ping: Ping, sender: Address) -> None:
        """Alive means that the loop turns, too."""
        if not self._service.healthy():
            self.exit(ExitReason("failed", "the gateway's thread does not answer"))
        super().on_ping(ping, sender)

    def on_peers(self, message: Peers, sender: Address) -> None:
        super().on_peers(message, sender)
        self._bridge.peers_changed()
        self._service.peers_changed()

    def on_reply(self, message: Reply, sender: Address) -> None:
        self._bridge.settle(message)

    def on_failure(self, message: Failure, sender: Address) -> None:
        self._bridge.settle(message)

    def undelivered(self, target: Address, message_type: str, delivery: Delivery, count: int) -> None:
        super().undelivered(target, message_type, delivery, count)
        self._bridge.lost(target)

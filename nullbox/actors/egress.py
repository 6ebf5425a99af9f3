"""The actor that owns the firewall and the TAPs. Judgement is in `nullbox.egress`; this passes messages to it."""

from __future__ import annotations

from nullbox.actors import process
from nullbox.actors.base import BaseActor
from nullbox.actors.questions import answer, refuse
from nullbox.egress import netlink, queries
from nullbox.egress.build import build
from nullbox.egress.config import EgressConfig
from nullbox.egress.dns import wire
from nullbox.egress.policy import parse_policy
from nullbox.egress.uplink import Uplink
from nullbox.egress.veth import KernelVeths
from nullbox.protocols.errors import NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import Address, CloseLink, ExitReason, LinkReady, OpenLink, Ping, Query, Start

LOOK_S = 30.0
"""Seconds between two looks at the kernel's record of denials by egress itself (the gateway asks more often, but the
kernel forgets what is `sets.DENIAL_MEMORY_S` old, also while nobody asks), and for links that nobody has said farewell
to: a cage that ends while egress is down tells nobody."""


class EgressActor(BaseActor):
    """Ready once the default-deny ruleset is loaded, so no cage can have a TAP before it.

    Config: `layout`, and `egress`, which is the table of that name in nulld.toml.
    """

    @classmethod
    def preload(cls) -> None:
        netlink.load()  # for the first link
        wire.load()  # for the first question

    def started(self, start: Start) -> None:
        self._layout = Layout.from_plain(start.config["layout"])
        uplink = Uplink(self._layout.uplink_record)
        taps = KernelVeths() if start.config.get("driver") == "process" else None
        self._service = build(EgressConfig.read(start.config.get("egress", {})), taps, uplink=uplink)
        self._service.prepare()
        # A link whose cage left no trace has no VM behind it: it belongs to nobody.
        removed = self._service.reconcile(self._layout.caged_agents())
        if removed:
            self.phase("running", reconciled=removed)
        self.ready()
        process.give_back()
        self.after(LOOK_S, self._look)

    def _look(self) -> None:
        self._service.poll()
        # A cage makes its folder before it asks for a link, and removes it before it says farewell.
        self._service.close_orphans(self._layout.caged_agents())
        self.after(LOOK_S, self._look)

    def on_ping(self, ping: Ping, sender: Address) -> None:
        """Alive means that names are resolved, too."""
        if not self._service.healthy():
            self.exit(ExitReason("failed", "the resolvers' thread does not answer"))
        super().on_ping(ping, sender)

    def on_open_link(self, message: OpenLink, sender: Address) -> None:
        try:
            policy = parse_policy(message.allow, message.calls_per_hour)
            link = self._service.open_link(message.agent, policy, message.uid)
        except NullBoxError as error:
            refuse(self, sender, message.request_id, error)
            return
        self.tell(
            sender,
            LinkReady(
                message.request_id,
                link.agent,
                link.tap,
                link.mac,
                link.guest_address,
                link.gateway_address,
                link.prefix,
            ),
        )

    def on_close_link(self, message: CloseLink, sender: Address) -> None:
        self._service.close_link(message.agent)

    def on_query(self, message: Query, sender: Address) -> None:
        answer(self, sender, message.request_id, lambda: queries.answer(self._service, message.verb, message.params))

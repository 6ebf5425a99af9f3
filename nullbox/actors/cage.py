"""The actor that looks after one agent's VM. Its life is the VM's life (docs/design/cage-lifetime.md).

What happens when is the table in `cage.machine`, and `cage_machine` performs it; what exists on the host is
`cage.vm`. This turns messages into the table's events.
"""

from __future__ import annotations

import time
from pathlib import Path
from types import MappingProxyType

from nullbox.actors.cage_machine import MachineActor
from nullbox.actors.questions import answer, refuse
from nullbox.cage import drivers
from nullbox.cage.machine import Event, adopted, started
from nullbox.cage.manifest import Manifest, parse
from nullbox.cage.view import inspect, stats
from nullbox.cage.vm import Vm
from nullbox.cage.vmplan import Link, VmPlan
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import (
    Address,
    CageCommand,
    ChannelReady,
    CloseChannel,
    CloseLink,
    ExitReason,
    Failure,
    LinkReady,
    OpenChannel,
    OpenLink,
    Start,
    Stop,
)

LINK_REQUEST = 1
CHANNEL_REQUEST = 2

LETS_LIVE = "escalation"
"""The reason to stop for which the VM stays: the control plane comes back and adopts it."""

DIED_OVER_IT = "stopped by an actor that died over it"
"""The reason to stop of an actor that was made to finish what its predecessor was asked for."""

COMMANDS = MappingProxyType({"pause": Event.PAUSE, "resume": Event.RESUME})


class CageActor(MachineActor):
    """Ready when the launcher in the guest has said hello."""

    def started(self, start: Start) -> None:
        self._layout = Layout.from_plain(start.config["layout"])
        self._agent = str(start.config["agent"])
        self._folder = Path(start.config["folder"])
        self._plan: VmPlan | None = None
        self._link: Link | None = None
        self._channel_open = False
        self._driver = str(start.config.get("driver", drivers.KRUN))
        self._cgroups = drivers.cgroups_of(self._driver)
        self._vm = Vm(self._agent, self._layout, self._cgroups)
        try:
            self._manifest = self._read_manifest()
        except (FileNotFoundError, NotADirectoryError, NullBoxError) as error:
            self._give_up(str(error))  # with whatever VM there is: its agent was removed
        # Any other failure up to here says nothing about the VM: it is a crash, and the next incarnation adopts.
        self._plan = self._vm.adopt()
        if self._plan is not None:
            self._begin(adopted(frozen=self._vm.cgroup.frozen, now=time.monotonic()))
        if start.config.get("finish"):
            self._stop(DIED_OVER_IT)
        elif self._plan is None:
            self._prepare()

    def _read_manifest(self) -> Manifest:
        return parse((self._folder / "AGENT.toml").read_bytes())

    # --- before there is a VM ----------------------------------------------------------------------------

    def _prepare(self) -> None:
        try:
            self._vm.prepare(self._manifest)
            self._ask_for_link_and_channel()
        except (OSError, NullBoxError) as error:
            self._give_up(str(error))

    def _ask_for_link_and_channel(self) -> None:
        manifest = self._manifest
        allow = [str(rule) for rule in manifest.allow]
        self.tell(
            self.peers["egress"],
            OpenLink(LINK_REQUEST, self._agent, self._vm.uid, allow, manifest.max_api_calls_per_hour),
        )
        self.tell(
            self.peers["ctxgraph"],
            OpenChannel(CHANNEL_REQUEST, self._agent, list(manifest.ctx_read), list(manifest.ctx_write), self._vm.uid),
        )

    def on_link_ready(self, message: LinkReady, sender: Address) -> None:
        self._link = Link(message.tap, message.mac, message.guest_address, message.gateway_address, message.prefix)
        self._launch_if_complete()

    def on_channel_ready(self, message: ChannelReady, sender: Address) -> None:
        self._channel_open = True
        self._launch_if_complete()

    def on_failure(self, message: Failure, sender: Address) -> None:
        """egress or ctxgraph cannot give what a VM needs: there is none then."""
        if self._machine is None:
            self._give_up(message.message)

    def _launch_if_complete(self) -> None:
        if self._link is None or not self._channel_open or self._machine is not None:
            return
        try:
            site = self._vm.site(self._folder)
            self._plan = drivers.make_plan(self._driver, self._manifest, self._cgroups, self._layout, site, self._link)
            self._vm.spawn(self._plan)
        except (OSError, NullBoxError) as error:
            self._give_up(str(error))
        self._begin(started(time.monotonic()))

    def _give_up(self, why: str) -> None:
        self._vm.note(f"not started: {why}")
        self._leave_nothing()
        self.exit(ExitReason("failed", why))

    # --- commands and the end ----------------------------------------------------------------------------

    def on_cage_command(self, message: CageCommand, sender: Address) -> None:
        event = COMMANDS.get(message.verb)
        if event is None:
            answer(self, sender, message.request_id, lambda: self._tell_about(message.verb))
        elif self._machine is None:
            problem = f"{self._agent} is starting, it cannot {message.verb}"
            refuse(self, sender, message.request_id, NullBoxError(ErrorCode.WRONG_STATE, problem))
        elif self._command is not None:
            problem = f"{self._agent} is about to {self._command[1].verb}, it cannot {message.verb} before that is done"
            refuse(self, sender, message.request_id, NullBoxError(ErrorCode.WRONG_STATE, problem))
        else:
            self._command = (sender, message, time.monotonic())
            self._happen(event)

    def _tell_about(self, verb: str) -> object:
        if verb == "inspect":
            return inspect(self._manifest, self._shown_state(), self._plan, self._vm)
        if verb == "stats":
            return stats(self._plan, self._vm)
        raise NullBoxError(ErrorCode.INVALID, f"a cage does not know {verb!r}; it knows: pause, resume, inspect, stats")

    def stopping(self, stop: Stop) -> None:
        if stop.reason == LETS_LIVE:
            self._vm.release()
            self.exit(ExitReason("shutdown", stop.reason))
        self._stop(stop.reason or "asked to stop")

    def _stop(self, why: str) -> None:
        self._asked_to_stop = why
        if self._machine is None:
            self._leave_nothing()
            self.exit(ExitReason("shutdown", why))
        self._happen(Event.STOP)

    def _leave_nothing(self) -> None:
        """The link and the channel go with the VM; what egress or ctxgraph miss, they find when they reconcile."""
        self._vm.remove(self._vm.note)
        for service, farewell in (("egress", CloseLink(self._agent)), ("ctxgraph", CloseChannel(self._agent))):
            if service in self.peers:
                self.tell(self.peers[service], farewell)

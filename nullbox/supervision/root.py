"""`nulld`, the root supervisor: the services and a cage for every agent.

Its Start.config needs only `layout`; it reads nulld.toml and the agents' manifests itself, so that what it
supervises is what is there when it starts. `driver` there outranks the file.
"""

from __future__ import annotations

import os
from dataclasses import replace

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.protocols.messages import (
    Address,
    ChildCommand,
    CrashReport,
    ExitReason,
    Failure,
    PowerCommand,
    Reply,
    Start,
)
from nullbox.supervision import events as ev
from nullbox.supervision.discovery import discover, find_agent
from nullbox.supervision.last_report import leave_report
from nullbox.supervision.settings import load
from nullbox.supervision.state import State, new_state
from nullbox.supervision.supervisor import Supervisor
from nullbox.supervision.tree import CAGE_PREFIX, AgentEntry, cage_spec, orphan_spec, root_specs, starts_together

ORPHAN_IS_GONE = frozenset({"normal", "failed", "shutdown"})
"""Ends that a cage announces, once nothing is left of its VM."""

POWER_VERBS = ("off", "reboot", "reset")


class RootSupervisor(Supervisor):
    """A supervisor that makes its own children's specs, adds cages, and passes power commands to the launcher."""

    def make_state(self, start: Start) -> State:
        self._orphans: set[str] = set()
        self.layout = Layout.from_plain(start.config["layout"])
        settings = load(self.layout.config)
        self.settings = replace(settings, driver=start.config.get("driver") or settings.driver)
        agents = discover(self.layout)
        for folder, why in agents.refused.items():
            self.note("refused", "", {"folder": folder, "detail": why})
        return new_state(
            start.child_id,
            root_specs(self.settings, agents.entries.values(), self.layout),
            intensity=self.settings.intensity,
            seed=os.getpid(),
            turns=starts_together(self.settings, os.cpu_count() or 1),
        )

    def started(self, start: Start) -> None:
        super().started(start)
        known = {name.removeprefix(CAGE_PREFIX) for name in self.state.children}
        for name in sorted(set(self.layout.caged_agents()) - known):
            self.note("orphan", CAGE_PREFIX + name, {"detail": "its agent was removed while nobody watched"})
            self.apply(ev.AddChild(orphan_spec(name, self.settings, self.layout)))
            self._orphans.add(CAGE_PREFIX + name)

    def child_exited(self, address: Address, reason: ExitReason) -> None:
        known = self._handles.who(address)
        super().child_exited(address, reason)
        if known is not None and known[0] in self._orphans and reason.kind in ORPHAN_IS_GONE:
            self._orphans.discard(known[0])
            self.apply(ev.RemoveChild(known[0]))

    def child_crashed(self, address: Address, report: CrashReport) -> None:
        """Also leave the report where PID 1 finds it, should it have to hold."""
        super().child_crashed(address, report)
        leave_report(self.layout.last_crash, f"{report.child_id}: {report.error}\n{report.traceback}")

    def on_child_command(self, message: ChildCommand, sender: Address) -> None:
        """`add` is for an agent's cage whose folder is there by now; the rest is every supervisor's."""
        if message.verb != "add":
            super().on_child_command(message, sender)
            return
        try:
            spec = cage_spec(self._agent_to_add(message.child_id), self.settings, self.layout)
        except NullBoxError as error:
            self.tell(sender, Failure(message.request_id, error.code.value, error.message))
        else:
            self.apply(ev.AddChild(spec, self._request(sender, message.request_id)))

    def _agent_to_add(self, child_id: str) -> AgentEntry:
        if not child_id.startswith(CAGE_PREFIX):
            raise NullBoxError(
                ErrorCode.INVALID, f"{child_id!r} cannot be added; allowed: {CAGE_PREFIX}NAME of an agent"
            )
        agent = find_agent(self.layout, child_id.removeprefix(CAGE_PREFIX))
        if agent is None:
            raise NullBoxError(
                ErrorCode.NOT_FOUND,
                f"there is no folder of {child_id} with a sound AGENT.toml below "
                f"{self.layout.deployed_agents} or {self.layout.bundled_agents}",
            )
        return agent

    def on_power_command(self, message: PowerCommand, sender: Address) -> None:
        """The launcher (who sent our Start) ends the system in order and tells PID 1 what to do then."""
        if message.verb not in POWER_VERBS:
            text = f"verb is {message.verb!r}; allowed: {', '.join(POWER_VERBS)}"
            self.tell(sender, Failure(message.request_id, ErrorCode.INVALID.value, text))
            return
        self.note("power", "", {"verb": message.verb})
        self.tell(sender, Reply(message.request_id, {"power": message.verb}))
        self.tell(self.parent, message)

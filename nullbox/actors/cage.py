"""The actor that looks after one agent's VM. Its life is the VM's life (docs/design/cage-lifetime.md).

What happens when is the table in `cage.machine`; what exists on the host is `cage.vm`. This turns messages, timers and
descriptors into the table's events, and performs its actions.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType

from nullbox.actors.base import BaseActor
from nullbox.actors.questions import answer, refuse
from nullbox.cage import drivers, endings
from nullbox.cage.control import BadGuest
from nullbox.cage.machine import SHOWN, Action, Event, Machine, State, adopted, late, started, step
from nullbox.cage.manifest import Manifest, parse
from nullbox.cage.view import inspect
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
    Reply,
    Start,
    Stop,
)

HELLO_INTERVAL = 0.05
"""Seconds between two tries to reach the launcher: libkrun accepts and drops connections until it listens."""

RECORD_INTERVAL = 0.02
RECORD_TIMEOUT = 5.0
"""Seconds to wait for PID 1's record of an adopted VMM that has ended."""

LINK_REQUEST = 1
CHANNEL_REQUEST = 2

LETS_LIVE = "escalation"
"""The reason to stop for which the VM stays: the control plane comes back and adopts it."""

COMMANDS = MappingProxyType({"pause": Event.PAUSE, "resume": Event.RESUME})


class CageActor(BaseActor):
    """Ready when the launcher in the guest has said hello."""

    def started(self, start: Start) -> None:
        self._layout = Layout.from_plain(start.config["layout"])
        self._agent = str(start.config["agent"])
        self._folder = Path(start.config["folder"])
        self._machine: Machine | None = None
        self._plan: VmPlan | None = None
        self._command: tuple[Address, CageCommand] | None = None
        self._asked_to_stop = ""
        self._late = False
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
            return
        try:
            self._vm.prepare()
            self._ask_for_link_and_channel()
        except (OSError, NullBoxError) as error:
            self._give_up(str(error))

    def _read_manifest(self) -> Manifest:
        return parse((self._folder / "AGENT.toml").read_bytes())

    # --- before there is a VM ----------------------------------------------------------------------------

    def _ask_for_link_and_channel(self) -> None:
        manifest = self._manifest
        allow = [str(rule) for rule in manifest.allow]
        self.tell(
            self.peers["egress"],
            OpenLink(LINK_REQUEST, self._agent, 0, allow, manifest.max_api_calls_per_hour),
        )
        self.tell(
            self.peers["ctxgraph"],
            OpenChannel(CHANNEL_REQUEST, self._agent, list(manifest.ctx_read), list(manifest.ctx_write)),
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

    # --- the machine -------------------------------------------------------------------------------------

    def _begin(self, machine: Machine) -> None:
        assert self._vm.process is not None
        self._machine = machine
        self.watch(self._vm.process.fileno(), self._ended)
        self.watch(self._vm.console, self._vm.read_console)
        self._set_deadline()
        if machine.state is State.PAUSED:
            self._report()  # frozen guests say no hello
        else:
            self._listen_for_hello()

    def _happen(self, event: Event) -> None:
        """Feed the machine, perform, and feed it with what came of that."""
        waiting = deque([event])
        while waiting:
            assert self._machine is not None
            self._machine, actions = step(self._machine, waiting.popleft(), time.monotonic())
            self._set_deadline()
            for action in actions:
                waiting.extend(PERFORMERS[action](self))

    def _set_deadline(self) -> None:
        assert self._machine is not None
        if self._machine.deadline is not None:
            deadline = self._machine.deadline
            self.after(max(0.0, deadline - time.monotonic()), lambda: self._deadline_passed(deadline))

    def _deadline_passed(self, deadline: float) -> None:
        # Timers of states that were left meanwhile fire too; only the machine's own deadline counts.
        assert self._machine is not None
        if self._machine.deadline == deadline and late(self._machine, time.monotonic()):
            self._late = self._late or self._machine.state is State.STARTING
            self._happen(Event.LATE)

    def _listen_for_hello(self) -> None:
        assert self._machine is not None
        if self._vm.control.hello is not None or self._machine.state is State.EXITED:
            return
        try:
            hello = self._vm.control.step()
        except BadGuest as error:
            self._vm.note(f"the guest's launcher talks nonsense: {error}")
            hello = None
        if hello is None:
            self.after(HELLO_INTERVAL, self._listen_for_hello)
        else:
            self._happen(Event.HELLO)

    def _ended(self) -> None:
        """The pidfd is readable. The status of an adopted VMM comes from PID 1, a moment later."""
        assert self._vm.process is not None
        self.unwatch(self._vm.process.fileno())
        self.unwatch(self._vm.console)  # a FIFO without a writer is readable for ever; `remove` takes what is left
        self._await_record(time.monotonic() + RECORD_TIMEOUT)

    def _await_record(self, until: float) -> None:
        if self._vm.exit_record() is None and time.monotonic() < until:
            self.after(RECORD_INTERVAL, lambda: self._await_record(until))
        else:
            self._happen(Event.ENDED)

    # --- actions of the machine --------------------------------------------------------------------------

    def _freeze(self) -> list[Event]:
        return self._set_frozen(True, Event.FROZEN)

    def _thaw(self) -> list[Event]:
        if self._vm.control.hello is None:
            self.after(0.0, self._listen_for_hello)  # it was adopted frozen, and could not say hello until now
        return self._set_frozen(False, Event.THAWED)

    def _set_frozen(self, frozen: bool, confirmed: Event) -> list[Event]:
        """Freezing takes the kernel about 10 ms; waiting here for its word is shorter than a turn of the loop."""
        assert self._machine is not None
        try:
            self._vm.cgroup.set_frozen(frozen)
            done = self._vm.cgroup.wait_frozen(frozen, self._machine.times.freeze)
        except OSError:
            done = False
        return [confirmed] if done else []

    def _terminate(self) -> list[Event]:
        self._vm.control.terminate()
        with contextlib.suppress(BadGuest):
            self._vm.control.step()
        return []

    def _kill(self) -> list[Event]:
        self._vm.kill()
        return []

    def _report(self) -> list[Event]:
        assert self._machine is not None
        state = SHOWN.get(self._machine.state, self._machine.state)
        if state in (State.RUNNING, State.PAUSED):
            self.ready()
            self.phase(state.value)
        return []

    def _done(self) -> list[Event]:
        if self._command is not None:
            sender, command = self._command
            self.tell(sender, Reply(command.request_id, {"name": self._agent, "state": self._shown_state()}))
            self._command = None
        return []

    def _refuse(self) -> list[Event]:
        return self._fail_command(
            ErrorCode.WRONG_STATE, lambda verb: f"{self._agent} is {self._shown_state()}, it cannot {verb}"
        )

    def _fail(self) -> list[Event]:
        return self._fail_command(ErrorCode.TIMEOUT, lambda verb: f"{self._agent} did not {verb} in time")

    def _fail_command(self, code: ErrorCode, text: Callable[[str], str]) -> list[Event]:
        if self._command is not None:
            sender, command = self._command
            refuse(self, sender, command.request_id, NullBoxError(code, text(command.verb)))
            self._command = None
        return []

    def _exit(self) -> list[Event]:
        with contextlib.suppress(BadGuest):
            self._vm.control.step()  # a hello may have come since the last look
        reason = endings.reason(
            self._vm.exit_record(),
            asked=self._asked_to_stop,
            failure=self._vm.failure(),
            late=self._late,
            heard=self._vm.control.hello is not None,
        )
        self._vm.note(reason.detail)
        self._leave_nothing()
        self.exit(reason)

    # --- commands and the end ----------------------------------------------------------------------------

    def on_cage_command(self, message: CageCommand, sender: Address) -> None:
        event = COMMANDS.get(message.verb)
        if event is None:
            answer(self, sender, message.request_id, lambda: self._tell_about(message.verb))
        elif self._machine is None:
            problem = f"{self._agent} is starting, it cannot {message.verb}"
            refuse(self, sender, message.request_id, NullBoxError(ErrorCode.WRONG_STATE, problem))
        else:
            self._command = (sender, message)
            self._happen(event)

    def _tell_about(self, verb: str) -> object:
        if verb == "inspect":
            return inspect(self._manifest, self._shown_state(), self._plan, self._vm)
        if verb == "stats":
            return self._vm.cgroup.stats()
        raise NullBoxError(ErrorCode.INVALID, f"a cage does not know {verb!r}; it knows: pause, resume, inspect, stats")

    def _shown_state(self) -> str:
        if self._machine is None:
            return State.STARTING.value
        return SHOWN.get(self._machine.state, self._machine.state).value

    def stopping(self, stop: Stop) -> None:
        self._asked_to_stop = stop.reason or "asked to stop"
        if stop.reason == LETS_LIVE:
            self._vm.release()
            self.exit(ExitReason("shutdown", stop.reason))
        if self._machine is None:
            self._leave_nothing()
            self.exit(ExitReason("shutdown", stop.reason))
        self._happen(Event.STOP)

    def _leave_nothing(self) -> None:
        """The link and the channel go with the VM; what egress or ctxgraph miss, they find when they reconcile."""
        self._vm.remove(self._vm.note)
        for service, farewell in (("egress", CloseLink(self._agent)), ("ctxgraph", CloseChannel(self._agent))):
            if service in self.peers:
                self.tell(self.peers[service], farewell)


PERFORMERS: MappingProxyType[Action, Callable[[CageActor], list[Event]]] = MappingProxyType(
    {
        Action.FREEZE: CageActor._freeze,
        Action.THAW: CageActor._thaw,
        Action.TERMINATE: CageActor._terminate,
        Action.KILL: CageActor._kill,
        Action.REPORT: CageActor._report,
        Action.DONE: CageActor._done,
        Action.REFUSE: CageActor._refuse,
        Action.FAIL: CageActor._fail,
        Action.EXIT: CageActor._exit,
    }
)
"""Every action of the machine; a test says so. What a performer returns has happened and is fed back."""

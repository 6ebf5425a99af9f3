"""One VM's machine at work: the table of `cage.machine`, fed by timers and descriptors, with its actions performed.

`MachineActor` knows the VM, the machine's state and the command that waits for an answer. What begins a VM, and who may
command it, is the business of `CageActor`.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable
from types import MappingProxyType

from nullbox.actors.base import BaseActor
from nullbox.actors.questions import refuse
from nullbox.cage import endings
from nullbox.cage.control import BadGuest
from nullbox.cage.machine import SHOWN, Action, Event, Machine, State, late, step
from nullbox.cage.vm import Vm
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.messages import Address, CageCommand, Reply

HELLO_INTERVAL = 0.05
"""Seconds between two tries to reach the launcher: libkrun accepts and drops connections until it listens."""

FREEZE_AT_ONCE = 0.05
"""Seconds to wait in place for the kernel's word on a freeze: it takes about 10 ms, less than a turn of the loop."""

FREEZE_INTERVAL = 0.02
"""Seconds between two looks after that. A VM that is busy leaving and entering its guest takes longer: seconds where
KVM is emulated."""

RECORD_INTERVAL = 0.02
RECORD_TIMEOUT = 5.0
"""Seconds to wait for PID 1's record of an adopted VMM that has ended."""


class MachineActor(BaseActor):
    """See the module. A subclass sets `_agent` and `_vm` before anything happens, and says what is left to clean up."""

    _agent: str
    _vm: Vm
    _machine: Machine | None = None
    _command: tuple[Address, CageCommand, float] | None = None
    """Who asked for what, and when (monotonic seconds)."""
    _asked_to_stop = ""
    _late = False

    def _leave_nothing(self) -> None:
        """Take down what belongs to a VM that has ended."""
        raise NotImplementedError

    def _shown_state(self) -> str:
        if self._machine is None:
            return State.STARTING.value
        return SHOWN.get(self._machine.state, self._machine.state).value

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
        try:
            self._vm.cgroup.set_frozen(frozen)
            done = self._vm.cgroup.wait_frozen(frozen, FREEZE_AT_ONCE)
        except OSError:
            return []  # the machine's own deadline answers whoever waits
        if done:
            return [confirmed]
        self.after(FREEZE_INTERVAL, lambda: self._await_frozen(frozen, confirmed))
        return []

    def _await_frozen(self, frozen: bool, confirmed: Event) -> None:
        """Look for the kernel's word as long as somebody waits for it."""
        assert self._machine is not None
        if self._machine.state is not (State.PAUSING if frozen else State.RESUMING):
            return
        with contextlib.suppress(OSError):
            if self._vm.cgroup.frozen is frozen:
                self._happen(confirmed)
                return
        self.after(FREEZE_INTERVAL, lambda: self._await_frozen(frozen, confirmed))

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
            sender, command, since = self._command
            confirmed_ms = round((time.monotonic() - since) * 1000, 3)
            state = {"name": self._agent, "state": self._shown_state(), "confirmed_ms": confirmed_ms}
            self.tell(sender, Reply(command.request_id, state))
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
            sender, command, _ = self._command
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


PERFORMERS: MappingProxyType[Action, Callable[[MachineActor], list[Event]]] = MappingProxyType(
    {
        Action.FREEZE: MachineActor._freeze,
        Action.THAW: MachineActor._thaw,
        Action.TERMINATE: MachineActor._terminate,
        Action.KILL: MachineActor._kill,
        Action.REPORT: MachineActor._report,
        Action.DONE: MachineActor._done,
        Action.REFUSE: MachineActor._refuse,
        Action.FAIL: MachineActor._fail,
        Action.EXIT: MachineActor._exit,
    }
)
"""Every action of the machine; a test says so. What a performer returns has happened and is fed back."""

"""How a VM's end is told to the supervisor. Pure."""

from __future__ import annotations

from nullbox.protocols.exits import ExitRecord
from nullbox.protocols.messages import ExitReason


def reason(record: ExitRecord | None, *, asked: str, failure: str | None, late: bool, heard: bool) -> ExitReason:
    """The reason of a cage's end.

    record: how the VMM ended; None when nobody could learn it.
    asked: why it was asked to stop, or empty.
    failure: why the runner could not start a VM, or None. Of no meaning once a guest was heard of.
    late: the guest did not come up in time and was killed for it.
    heard: the launcher in the guest said hello. It does before it ends, however short its agent's life was; a VMM
        whose guest crashed or reset itself before ends with 0, too, and no agent ran.

    An end that was asked for is orderly whatever the code. Otherwise 0 is `normal`, and all else `failed`, with the
    agent's own exit code, which is the VMM's.
    """
    how = f"the agent {record.describe()}" if record is not None else "the VM ended; its exit code is not known"
    code = record.code if record is not None else None
    if asked:
        return ExitReason("shutdown", f"{how} ({asked})", code)
    if failure is not None and not heard:
        return ExitReason("failed", f"no VM: {failure}", code)
    if late:
        return ExitReason("failed", "the guest did not come up in time", code)
    if code == 0 and not heard:
        return ExitReason("failed", "the guest ended before its agent was heard of", code)
    if code == 0:
        return ExitReason("normal", how, 0)
    return ExitReason("failed", how, code)

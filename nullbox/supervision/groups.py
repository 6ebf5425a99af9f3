"""Group restarts: which children go along with one that ended, and the order in which they go and come. Pure.

Under one_for_all and rest_for_one the order of the children is itself a dependency, as in OTP: they are stopped
one after another, last first, and started one after another, each once the one before is ready. A group that is
under way can grow: another child of it may end meanwhile, or an earlier one. OTP would finish the first restart
before it looked at the second exit; here the two are merged, which restarts every child once, not twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from nullbox.supervision.events import Action, StopReason
from nullbox.supervision.lifecycle import begin_stop, try_start
from nullbox.supervision.spec import Restart, Strategy
from nullbox.supervision.state import Child, ChildState, Intent, State

LINEAR = frozenset({Strategy.ONE_FOR_ALL, Strategy.REST_FOR_ONE})
"""The strategies under which order is a dependency."""


def affected(strategy: Strategy, order: Sequence[str], child: str) -> list[str]:
    """Who is restarted when `child` is, itself included, in start order."""
    if strategy is Strategy.ONE_FOR_ALL:
        return list(order)
    if strategy is Strategy.REST_FOR_ONE:
        return list(order[order.index(child) :])
    return [child]


def start_all(state: State, now: float, out: list[Action]) -> None:
    """The first start of all children that are wanted."""
    if state.strategy in LINEAR:
        for child in state.children.values():
            child.renew = child.wanted
        state.group = list(state.children)
        advance_group(state, now, out)
        return
    for child in state.children.values():
        if child.wanted:
            try_start(state, child, now, out)


def begin_group(state: State, cause: Child, now: float, out: list[Action]) -> None:
    """Restart all that the end of `cause` takes along. The cause is dead, and in backoff if it has to wait.

    As in OTP, temporary children are stopped but do not come back, and children that had ended for good come
    back. Unlike there, a child that a user stopped stays stopped, and so does one past a limit of its own.
    """
    members = affected(state.strategy, list(state.children), cause.spec.id)
    for name in members:
        child = state.children[name]
        due = child is cause or child.renew or child.waiting  # it was to be started anyway
        comes_back = due or (
            child.wanted and child.spec.restart is not Restart.TEMPORARY and child.state is not ChildState.FAILED
        )
        child.doomed = child.alive
        child.renew = comes_back and child.intent is not Intent.REMOVE
    merge_group(state, members)
    advance_group(state, now, out)


def merge_group(state: State, members: Iterable[str]) -> None:
    """Add to the group under way, keeping start order."""
    wanted = {*state.group, *members}
    state.group = [name for name in state.children if name in wanted]


def advance_group(state: State, now: float, out: list[Action]) -> None:
    """Take the group's next step, if it does not depend on something that is still under way."""
    members = [state.children[name] for name in state.group if name in state.children]
    for child in reversed(members):
        if child.doomed:
            if child.state is not ChildState.STOPPING:
                intent = Intent.GROUP if child.renew else Intent.STOP
                begin_stop(state, child, intent, StopReason.GROUP, now, out)
            return
    if any(child.state is ChildState.BACKOFF for child in members):
        return
    for child in members:
        if child.alive:
            if child.state is not ChildState.RUNNING:
                return
        elif child.renew and try_start(state, child, now, out):
            return
    state.group = []

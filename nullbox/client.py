"""Talk to a running NullBox from Python: what `nullctl` itself uses.

    from nullbox.client import Nulld

    with Nulld("/run/nulld.sock") as nulld:
        print(nulld.status()["healthy"])
        nulld.agent_stop("researcher")
        for line in nulld.agent_logs("pulse", follow=True):
            print(line["text"])

Answers are plain data as docs/protocol.md describes them. Every method raises `NullBoxError` with the contract's
code, or `Unreachable` when no daemon answers. `AsyncNulld` has the same methods for asyncio. An object belongs to
one thread (or one loop) at a time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.client import Client, Subscription, Unreachable

if TYPE_CHECKING:
    from nullbox.client_async import AsyncNulld

DEFAULT_SOCKET = "/run/nulld.sock"
SOCKET_VARIABLE = "NULLD_SOCKET"
WAIT_SLACK = 10.0
"""Seconds beyond a method's own time before the client gives up on the server."""

Answer = dict[str, Any]


def default_socket() -> str:
    """`$NULLD_SOCKET`, or `/run/nulld.sock`."""
    return os.environ.get(SOCKET_VARIABLE) or DEFAULT_SOCKET


class Nulld:
    """A connection to a gateway. Connects at the first call."""

    def __init__(self, socket: str | os.PathLike[str] | None = None, *, timeout: float = 70.0) -> None:
        self._client = Client(socket if socket is not None else default_socket(), timeout=timeout)

    def __enter__(self) -> Nulld:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        self._client.close()

    def call(self, method: str, *, timeout: float | None = None, **params: Any) -> Any:
        """Any method of the protocol by its name: `nulld.call("agent.stop", name="pulse")`. None is left out."""
        return self._client.call(method, _given(params), timeout=timeout)

    def stream(self, method: str, **params: Any) -> Subscription:
        """Any streaming method. Use it in a `with` to end it."""
        return self._client.stream(method, _given(params))

    # --- the system -----------------------------------------------------------------------------------------

    def version(self) -> Answer:
        """`{"version": "0.1.0", "protocol": 1, "kernel": …, "python": …}`."""
        return _mapping(self.call("version"))

    def status(self) -> Answer:
        """Health, services and agents: `nulld.status()["healthy"]`."""
        return _mapping(self.call("status"))

    def doctor(self) -> Answer:
        """What is wrong and what to do: `[each["advice"] for each in nulld.doctor()["findings"]]`."""
        return _mapping(self.call("doctor"))

    def tree(self) -> list[Answer]:
        """The nodes of the supervision tree, each after its parent."""
        return _list(self.call("tree"))

    def events(self, since: int = 0, limit: int | None = None) -> Answer:
        """What happened after event number `since`: `{"events": […], "last_seq": …, "lost": …}`."""
        return _mapping(self.call("events", since=since, limit=limit))

    def events_follow(self, since: int = 0) -> Iterator[Answer]:
        """Events after number `since`, then each as it happens."""
        with self.stream("events", follow=True, since=since) as events:
            yield from events

    def power_off(self) -> None:
        """Stop everything in order and turn the machine off."""
        self.call("power.off")

    def power_reboot(self) -> None:
        """Stop everything in order and boot again."""
        self.call("power.reboot")

    def power_reset(self) -> Answer:
        """Stop everything in order, empty the STATE partition and boot again: `{"power": "reset", "device": …}`. What
        was on the partition is gone for good."""
        return _mapping(self.call("power.reset", state=True))

    # --- agents ---------------------------------------------------------------------------------------------

    def agent_list(self) -> list[Answer]:
        """All agents: `[each["name"] for each in nulld.agent_list()]`."""
        return _list(self.call("agent.list"))

    def agent_inspect(self, name: str) -> Answer:
        """All about one agent; `["vm"]` is None while it does not run."""
        return _mapping(self.call("agent.inspect", name=name))

    def agent_start(self, name: str) -> Answer:
        """`{"name": …, "state": …}`, as soon as the start is under way; `agent_wait` waits for more."""
        return _mapping(self.call("agent.start", name=name))

    def agent_stop(self, name: str) -> Answer:
        """Returns when it has stopped."""
        return _mapping(self.call("agent.stop", name=name))

    def agent_restart(self, name: str) -> Answer:
        """Returns when the old VM has ended and the new one is under way."""
        return _mapping(self.call("agent.restart", name=name))

    def agent_pause(self, name: str) -> Answer:
        """Returns when the VM is frozen."""
        return _mapping(self.call("agent.pause", name=name))

    def agent_resume(self, name: str) -> Answer:
        """Returns when the VM runs again."""
        return _mapping(self.call("agent.resume", name=name))

    def agent_deploy(
        self,
        folder: str | os.PathLike[str],
        *,
        replace: bool = False,
        progress: Callable[[int, int], None] | None = None,
    ) -> Answer:
        """Send a folder with its AGENT.toml and start the agent: `{"name": …, "version": …, "state": …}`.

        Hidden files, byte code and links are left out. progress: called with bytes sent and bytes in all.
        """
        from nullbox.upload import parts

        answer: Answer = {}
        for part, sent, total in parts(folder):
            answer = _mapping(self._client.call("agent.deploy", {**part, "replace": replace}))
            if progress is not None:
                progress(sent, total)
        return answer

    def agent_remove(self, name: str) -> Answer:
        """Stop a deployed agent and delete its folder."""
        return _mapping(self.call("agent.remove", name=name))

    def agent_wait(self, name: str, state: str = "running", timeout: float = 30.0) -> Answer:
        """Wait until the agent is in `state`. Raises NullBoxError `timeout` after that many seconds."""
        params = {"name": name, "for": state, "timeout": timeout}
        return _mapping(self._client.call("agent.wait", params, timeout=timeout + WAIT_SLACK))

    def agent_stats(self, name: str) -> Answer:
        """CPU time, memory, processes of its VM: `["stats"]["memory_bytes"]`; None while it does not run."""
        return _mapping(self.call("agent.stats", name=name))

    def agent_logs(
        self, name: str, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> Iterator[Answer]:
        """Lines of its console, oldest first: `{"ts": …, "text": …}`.

        tail: only the last ones. since: only from this time on (seconds since the epoch). follow: then each new
        line as it is written, without an end.
        """
        params = {"name": name, "tail": tail, "since": since, "follow": follow, "whole": True}
        with self.stream("agent.logs", **params) as lines:
            yield from lines

    # --- ctxgraph -------------------------------------------------------------------------------------------

    def ctx_query(self, prefix: str = "", limit: int = 100, after: int | None = None, order: str = "asc") -> Answer:
        """One page of what was written to keys with that prefix: `{"entries": […], "next": …}`."""
        return _mapping(self.call("ctx.query", prefix=prefix, limit=limit, after=after, order=order))

    def ctx_read(self, hash: str) -> Answer:
        """The entry with that hash."""
        return _mapping(self.call("ctx.read", hash=hash))

    def ctx_latest(self, key: str) -> Answer:
        """What was written to a key last."""
        return _mapping(self.call("ctx.latest", key=key))

    def ctx_history(self, key: str, limit: int = 100, after: int | None = None, order: str = "asc") -> Answer:
        """One page of what was written to a key."""
        return _mapping(self.call("ctx.history", key=key, limit=limit, after=after, order=order))

    def ctx_by_agent(self, agent_id: str, limit: int = 100, after: int | None = None, order: str = "asc") -> Answer:
        """One page of what an agent wrote."""
        return _mapping(self.call("ctx.by_agent", agent_id=agent_id, limit=limit, after=after, order=order))

    def ctx_agents(self) -> list[Answer]:
        """Who wrote how much."""
        return _list(_mapping(self.call("ctx.agents"))["agents"])

    def ctx_write(self, key: str, value: Any) -> Answer:
        """Write an entry as the operator: `nulld.ctx_write("notes.first", {"text": "hello"})`."""
        return _mapping(self._client.call("ctx.write", {"key": key, "value": value}))

    def ctx_watch(self, prefix: str = "", since_seq: int | None = None) -> Iterator[Answer]:
        """Entries as they are written; those after number `since_seq` first, if given."""
        with self.stream("ctx.watch", prefix=prefix, since_seq=since_seq) as entries:
            yield from entries

    def ctx_search(self, text: str, prefix: str = "", limit: int = 20) -> list[Answer]:
        """Entries whose value holds all the words of `text`, best first."""
        return _list(_mapping(self.call("ctx.search", text=text, prefix=prefix, limit=limit))["entries"])

    def ctx_status(self) -> Answer:
        """The store: `{"size": …, "root": …, …}`."""
        return _mapping(self.call("ctx.status"))

    def ctx_delete(self, key: str) -> Answer:
        """End a key; its history stays."""
        return _mapping(self.call("ctx.delete", key=key))

    def ctx_erase(self, hash: str) -> Answer:
        """Destroy an entry's value for good."""
        return _mapping(self.call("ctx.erase", hash=hash))

    def ctx_graph(self, hash: str, direction: str = "ancestors", depth: int = 10, limit: int = 200) -> Answer:
        """What an entry was made from, or (`descendants`) what was made from it: `["nodes"]`, `["edges"]`."""
        return _mapping(self.call("ctx.graph", hash=hash, direction=direction, depth=depth, limit=limit))

    def ctx_root(self, size: int | None = None) -> Answer:
        """A checkpoint of the log's first `size` records, or of all: `{"size": …, "root": …}`."""
        return _mapping(self.call("ctx.root", size=size))

    def ctx_prove(self, entry: str | int, size: int | None = None) -> Answer:
        """A proof that the entry, by its hash or its number, is in the log; `ctxgraph.proofs` checks it."""
        named = {"hash": entry} if isinstance(entry, str) else {"seq": entry}
        return _mapping(self.call("ctx.prove", size=size, **named))

    def ctx_consistency(self, size: int, root: str | None = None, new_size: int | None = None) -> Answer:
        """A proof that the log begins with the `size` records that had `root`; `ctxgraph.proofs` checks it."""
        return _mapping(self.call("ctx.consistency", size=size, root=root, new_size=new_size))

    def ctx_verify(self) -> Answer:
        """Recompute every hash of the store and the log."""
        return _mapping(self.call("ctx.verify", timeout=310.0))

    def ctx_export(self, prefix: str = "", proofs: bool = False) -> Iterator[Answer]:
        """A header, then all entries, each with a proof if asked for."""
        with self.stream("ctx.export", prefix=prefix, proofs=proofs) as lines:
            yield from lines

    def ctx_import(self, start: Answer, lines: list[Answer]) -> Answer:
        """Restore lines of an export, in order; `start` is its header. `{"added": …, "present": …, "size": …, …}`."""
        return _mapping(self._client.call("ctx.import", {"start": start, "lines": lines}, timeout=310.0))

    # --- egress ---------------------------------------------------------------------------------------------

    def egress_rules(self, agent: str | None = None) -> Any:
        """What the firewall allows, for one agent or all."""
        return self.call("egress.rules", agent=agent)

    def egress_explain(self, agent: str, target: str) -> Answer:
        """Whether the agent may reach `HOST[:PORT]`, and why: `["allowed"]`, `["why"]`."""
        return _mapping(self.call("egress.explain", agent=agent, target=target))

    def egress_log(self, agent: str | None = None, since: int = 0) -> list[Answer]:
        """What agents were denied; equal denials are one with a count."""
        return _list(_mapping(self.call("egress.log", agent=agent, since=since))["denials"])

    def egress_log_follow(self, agent: str | None = None, since: int = 0) -> Iterator[Answer]:
        """Denials after number `since`, then each new or repeated one."""
        with self.stream("egress.log", follow=True, agent=agent, since=since) as denials:
            yield from denials

    def egress_flush_dns(self, agent: str) -> Answer:
        """Forget the addresses behind the agent's names: `{"agent": …, "flushed": …}`."""
        return _mapping(self.call("egress.flush_dns", agent=agent))

    def egress_learn(self, agent: str, *, on: bool = True) -> Answer:
        """Put an agent into report-only mode, or back; what it used, and the `allow` list that it would need."""
        return _mapping(self.call("egress.learn", agent=agent, on=on))


def __getattr__(name: str) -> Any:
    """`AsyncNulld` is loaded when it is asked for: asyncio takes longer to import than all the rest."""
    if name == "AsyncNulld":
        from nullbox.client_async import AsyncNulld

        return AsyncNulld
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _given(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None}


def _mapping(answer: Any) -> Answer:
    if not isinstance(answer, dict):
        raise NullBoxError(ErrorCode.INTERNAL, f"the server answered with {type(answer).__name__}, not a mapping")
    return answer


def _list(answer: Any) -> list[Answer]:
    if not isinstance(answer, list):
        raise NullBoxError(ErrorCode.INTERNAL, f"the server answered with {type(answer).__name__}, not a list")
    return answer


__all__ = ["AsyncNulld", "ErrorCode", "NullBoxError", "Nulld", "Unreachable", "default_socket"]

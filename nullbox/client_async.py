"""The client for asyncio programs. Import it as `nullbox.client.AsyncNulld`.

async with AsyncNulld() as nulld:
    await nulld.agent_pause("pulse")
    async for event in nulld.events_follow():
        print(event["kind"])
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

from nullbox.client import Answer, _given, _list, _mapping, default_socket
from nullbox.rpc.aio import AsyncClient
from nullbox.upload import parts

WAIT_SLACK = 10.0


class AsyncNulld:
    """As `nullbox.client.Nulld`, method by method. Calls may overlap; each stream has its own pace."""

    def __init__(self, socket: str | os.PathLike[str] | None = None, *, timeout: float = 70.0) -> None:
        self._client = AsyncClient(socket if socket is not None else default_socket(), timeout=timeout)

    async def __aenter__(self) -> AsyncNulld:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._client.close()

    async def call(self, method: str, *, timeout: float | None = None, **params: Any) -> Any:
        return await self._client.call(method, _given(params), timeout=timeout)

    def stream(self, method: str, **params: Any) -> AsyncIterator[Any]:
        return self._client.stream(method, _given(params))

    async def version(self) -> Answer:
        return _mapping(await self.call("version"))

    async def status(self) -> Answer:
        return _mapping(await self.call("status"))

    async def doctor(self) -> Answer:
        return _mapping(await self.call("doctor"))

    async def tree(self) -> list[Answer]:
        return _list(await self.call("tree"))

    async def events(self, since: int = 0, limit: int | None = None) -> Answer:
        return _mapping(await self.call("events", since=since, limit=limit))

    def events_follow(self, since: int = 0) -> AsyncIterator[Answer]:
        return self.stream("events", follow=True, since=since)

    async def power_off(self) -> None:
        await self.call("power.off")

    async def power_reboot(self) -> None:
        await self.call("power.reboot")

    async def power_reset(self) -> Answer:
        return _mapping(await self.call("power.reset", state=True))

    async def agent_list(self) -> list[Answer]:
        return _list(await self.call("agent.list"))

    async def agent_inspect(self, name: str) -> Answer:
        return _mapping(await self.call("agent.inspect", name=name))

    async def agent_start(self, name: str) -> Answer:
        return _mapping(await self.call("agent.start", name=name))

    async def agent_stop(self, name: str) -> Answer:
        return _mapping(await self.call("agent.stop", name=name))

    async def agent_restart(self, name: str) -> Answer:
        return _mapping(await self.call("agent.restart", name=name))

    async def agent_pause(self, name: str) -> Answer:
        return _mapping(await self.call("agent.pause", name=name))

    async def agent_resume(self, name: str) -> Answer:
        return _mapping(await self.call("agent.resume", name=name))

    async def agent_deploy(self, folder: str | os.PathLike[str], *, replace: bool = False) -> Answer:
        answer: Answer = {}
        for part, _, _ in parts(folder):
            answer = _mapping(await self._client.call("agent.deploy", {**part, "replace": replace}))
        return answer

    async def agent_remove(self, name: str) -> Answer:
        return _mapping(await self.call("agent.remove", name=name))

    async def agent_wait(self, name: str, state: str = "running", timeout: float = 30.0) -> Answer:
        params = {"name": name, "for": state, "timeout": timeout}
        return _mapping(await self._client.call("agent.wait", params, timeout=timeout + WAIT_SLACK))

    async def agent_stats(self, name: str) -> Answer:
        return _mapping(await self.call("agent.stats", name=name))

    def agent_logs(
        self, name: str, tail: int | None = None, since: float | None = None, follow: bool = False
    ) -> AsyncIterator[Answer]:
        return self.stream("agent.logs", name=name, tail=tail, since=since, follow=follow, whole=True)

    async def ctx_query(
        self, prefix: str = "", limit: int = 100, after: int | None = None, order: str = "asc"
    ) -> Answer:
        return _mapping(await self.call("ctx.query", prefix=prefix, limit=limit, after=after, order=order))

    async def ctx_read(self, hash: str) -> Answer:
        return _mapping(await self.call("ctx.read", hash=hash))

    async def ctx_latest(self, key: str) -> Answer:
        return _mapping(await self.call("ctx.latest", key=key))

    async def ctx_history(self, key: str, limit: int = 100, after: int | None = None, order: str = "asc") -> Answer:
        return _mapping(await self.call("ctx.history", key=key, limit=limit, after=after, order=order))

    async def ctx_by_agent(
        self, agent_id: str, limit: int = 100, after: int | None = None, order: str = "asc"
    ) -> Answer:
        return _mapping(await self.call("ctx.by_agent", agent_id=agent_id, limit=limit, after=after, order=order))

    async def ctx_agents(self) -> list[Answer]:
        return _list(_mapping(await self.call("ctx.agents"))["agents"])

    async def ctx_write(self, key: str, value: Any) -> Answer:
        return _mapping(await self._client.call("ctx.write", {"key": key, "value": value}))

    def ctx_watch(self, prefix: str = "", since_seq: int | None = None) -> AsyncIterator[Answer]:
        return self.stream("ctx.watch", prefix=prefix, since_seq=since_seq)

    async def ctx_search(self, text: str, prefix: str = "", limit: int = 20) -> list[Answer]:
        return _list(_mapping(await self.call("ctx.search", text=text, prefix=prefix, limit=limit))["entries"])

    async def ctx_status(self) -> Answer:
        return _mapping(await self.call("ctx.status"))

    async def ctx_delete(self, key: str) -> Answer:
        return _mapping(await self.call("ctx.delete", key=key))

    async def ctx_erase(self, hash: str) -> Answer:
        return _mapping(await self.call("ctx.erase", hash=hash))

    async def ctx_graph(self, hash: str, direction: str = "ancestors", depth: int = 10, limit: int = 200) -> Answer:
        return _mapping(await self.call("ctx.graph", hash=hash, direction=direction, depth=depth, limit=limit))

    async def ctx_root(self, size: int | None = None) -> Answer:
        return _mapping(await self.call("ctx.root", size=size))

    async def ctx_prove(self, entry: str | int, size: int | None = None) -> Answer:
        named = {"hash": entry} if isinstance(entry, str) else {"seq": entry}
        return _mapping(await self.call("ctx.prove", size=size, **named))

    async def ctx_consistency(self, size: int, root: str | None = None, new_size: int | None = None) -> Answer:
        return _mapping(await self.call("ctx.consistency", size=size, root=root, new_size=new_size))

    async def ctx_verify(self) -> Answer:
        return _mapping(await self.call("ctx.verify", timeout=310.0))

    def ctx_export(self, prefix: str = "", proofs: bool = False) -> AsyncIterator[Answer]:
        return self.stream("ctx.export", prefix=prefix, proofs=proofs)

    async def ctx_import(self, start: Answer, lines: list[Answer]) -> Answer:
        return _mapping(await self._client.call("ctx.import", {"start": start, "lines": lines}, timeout=310.0))

    async def egress_rules(self, agent: str | None = None) -> Any:
        return await self.call("egress.rules", agent=agent)

    async def egress_explain(self, agent: str, target: str) -> Answer:
        return _mapping(await self.call("egress.explain", agent=agent, target=target))

    async def egress_log(self, agent: str | None = None, since: int = 0) -> list[Answer]:
        return _list(_mapping(await self.call("egress.log", agent=agent, since=since))["denials"])

    def egress_log_follow(self, agent: str | None = None, since: int = 0) -> AsyncIterator[Answer]:
        return self.stream("egress.log", follow=True, agent=agent, since=since)

    async def egress_flush_dns(self, agent: str) -> Answer:
        return _mapping(await self.call("egress.flush_dns", agent=agent))

    async def egress_learn(self, agent: str, *, on: bool = True) -> Answer:
        """Put an agent into report-only mode, or back; what it used, and the `allow` list that it would need."""
        return _mapping(await self.call("egress.learn", agent=agent, on=on))

"""ctxgraph as a service with its own thread and loop. Effects: sockets, files, one thread.

    service = CtxgraphService()
    service.start(layout)
    path = service.open_channel("pulse", read=["pulse."], write=["pulse."])

All methods may be called from any thread and block until they are done. What channels are open is written beside
their sockets, so a service that starts again serves running VMs under the same rights, before anyone asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from nullbox.ctxgraph.access import HOST_AGENT, host_rights, rights
from nullbox.ctxgraph.methods import METHODS
from nullbox.ctxgraph.quota import Limits
from nullbox.ctxgraph.server import CtxServer
from nullbox.ctxgraph.store import Store, default_limits
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.rpc.call import Call
from nullbox.rpc.limits import Limits as ConnectionLimits
from nullbox.rpc.server import LineServer

log = logging.getLogger(__name__)

T = TypeVar("T")

SWITCH_INTERVAL_S = 0.0002
"""How long a thread may be kept from the interpreter: a commit's end must not wait for 5 ms of the loop's work."""

SLOW_METHODS = frozenset({"verify", "export", "import", "search"})

_HOST_CONNECTIONS = ConnectionLimits(connections=64, connections_per_uid=64, idle=None)
_AGENT_CONNECTIONS = ConnectionLimits(connections=16, connections_per_uid=16, subscriptions=8, idle=None)
"""Of each agent: it has a server, and limits, of its own."""


class CtxgraphService:
    """See the module. One service per process."""

    def __init__(self) -> None:
        self._layout: Layout
        self._loop: asyncio.AbstractEventLoop
        self._thread: threading.Thread | None = None
        self._server: CtxServer
        self._host: LineServer
        self._open: dict[str, LineServer] = {}

    def start(
        self,
        layout: Layout,
        *,
        limits: Callable[[str], Limits | None] = default_limits,
        timeout: float = 60.0,
    ) -> None:
        """Open the store and serve the host's socket and every remembered channel.

        Raises:
            NullBoxError: `unavailable`, the store cannot be opened; nothing is left running.
        """
        if self._thread is not None:
            raise NullBoxError(ErrorCode.WRONG_STATE, "the service runs already; stop it first")
        self._layout = layout
        sys.setswitchinterval(min(sys.getswitchinterval(), SWITCH_INTERVAL_S))
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="ctxgraph", daemon=True)
        self._thread.start()
        ready.wait(timeout)
        try:
            self._call(self._start(limits), timeout)
        except BaseException:
            self._end_thread()
            raise

    def open_channel(self, agent: str, read: list[str], write: list[str], uid: int = 0) -> Path:
        """Serve `agent` on a socket of its own, under these key prefixes; the socket's path.

        uid: the group of this number may connect, beside the one who runs this.

        Again for an open channel: the rights are replaced, connections stay.

        Raises:
            NullBoxError: `invalid`, a prefix or the name is malformed.
        """
        return self._call(self._open_channel(agent, read, write, uid))

    def close_channel(self, agent: str) -> None:
        """Stop serving the agent: its connections end, its socket goes. Its entries stay. No-op if not open."""
        self._call(self._close_channel(agent))

    def channels(self) -> list[str]:
        """The agents that are served now."""
        return sorted(self._open)

    def health(self, timeout: float = 10.0) -> dict[str, Any]:
        """Prove that the loop, the writer's thread and a reader answer.

        Raises:
            NullBoxError: `unavailable`: the store failed (reopen it: start again); `timeout`: something hangs.
        """
        return self._call(self._health(), timeout)

    def denials(self, since: int = 0) -> list[dict[str, Any]]:
        """What agents were denied, as far as it changed after the number `since` (`denials.Denial`)."""

        async def look() -> list[dict[str, Any]]:
            return self._server.denials.since(since)

        return self._call(look())

    def stop(self, timeout: float = 15.0) -> None:
        """Finish queued writes, close everything. Remembered channels stay remembered. No-op when not running."""
        if self._thread is None:
            return
        try:
            self._call(self._stop(), timeout)
        finally:
            self._end_thread()

    # --- in the loop ----------------------------------------------------------------------------------------

    async def _start(self, limits: Callable[[str], Limits | None]) -> None:
        layout = self._layout
        for folder in (layout.ctx_sockets, layout.ctx_host_socket.parent, layout.ctx_sockets / "agents"):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        store = Store(layout.ctx_store, limits=limits)
        self._server = CtxServer(store, METHODS, limits=limits)
        self._host = LineServer(self._server.handle, limits=_HOST_CONNECTIONS, deadline=_deadline)
        self._server.grant(HOST_AGENT, host_rights())
        await self._host.listen(layout.ctx_host_socket, mode=0o600, channel=HOST_AGENT)
        for record in sorted(layout.ctx_sockets.glob("*.json")):
            await self._reopen(record)

    async def _reopen(self, record: Path) -> None:
        try:
            data = json.loads(record.read_text())
            await self._open_channel(str(data["agent"]), list(data["read"]), list(data["write"]), int(data["uid"]))
        except (OSError, ValueError, KeyError, TypeError, NullBoxError) as error:
            # The cage asks again for its channel; better none than one with guessed rights.
            log.warning("channel record %s is unusable and was dropped: %s", record.name, error)
            record.unlink(missing_ok=True)

    async def _open_channel(self, agent: str, read: list[str], write: list[str], uid: int) -> Path:
        granted = rights(agent, read, write)
        path = self._layout.ctx_socket(agent)
        if path.parent.parent != self._layout.ctx_sockets / "agents" or agent in ("..", HOST_AGENT):
            raise NullBoxError(ErrorCode.INVALID, f"{agent!r} is no agent's name")
        record = self._layout.ctx_sockets / f"{agent}.json"
        partial = record.with_suffix(".new")
        kept = {"agent": agent, "read": list(granted.read), "write": list(granted.write), "uid": uid}
        partial.write_text(json.dumps(kept))
        partial.replace(record)
        self._server.grant(agent, granted)
        if agent not in self._open:
            path.parent.mkdir(exist_ok=True)
            _share(path.parent, uid, 0o710)
            lines = LineServer(self._server.handle, limits=_AGENT_CONNECTIONS, deadline=_deadline)
            await lines.listen(path, mode=0o600, channel=agent)
            self._open[agent] = lines
        _share(path, uid, 0o660)
        return path

    async def _close_channel(self, agent: str) -> None:
        lines = self._open.pop(agent, None)
        if lines is None:
            return
        (self._layout.ctx_sockets / f"{agent}.json").unlink(missing_ok=True)
        self._server.revoke(agent)
        await lines.close()
        with contextlib.suppress(OSError):
            self._layout.ctx_socket(agent).parent.rmdir()

    async def _health(self) -> dict[str, Any]:
        failed = self._server.store.failed
        if failed is not None:
            raise failed
        size, root, _ = self._server.fast_reader().state()
        written = await self._server.in_writer(lambda store: store.size)
        return {
            "size": size,
            "root": root.hex(),
            "behind": written - size,
            "connections": sum(lines.connections for lines in (self._host, *self._open.values())),
            "channels": self.channels(),
        }

    async def _stop(self) -> None:
        for lines in (self._host, *self._open.values()):
            await lines.close()
        self._open.clear()
        await self._server.close()

    # --- thread ---------------------------------------------------------------------------------------------

    def _run(self, ready: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(ready.set)
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T], timeout: float = 10.0) -> T:
        if self._thread is None or not self._thread.is_alive():
            work.close()
            raise NullBoxError(ErrorCode.UNAVAILABLE, "the service does not run; start it first")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(timeout)
        except TimeoutError:
            future.cancel()
            raise NullBoxError(ErrorCode.TIMEOUT, f"ctxgraph did not answer within {timeout:g} s") from None

    def _end_thread(self) -> None:
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(5.0)
            self._thread = None


def _share(path: Path, uid: int, mode: int) -> None:
    """Ours, and its group's as far as `mode` says. uid 0: nobody else's."""
    if uid:
        os.chown(path, -1, uid)
    path.chmod(mode if uid else mode & 0o700)


def _deadline(call: Call) -> float:
    return 600.0 if call.method in SLOW_METHODS else 10.0

"""The gateway in a thread of its own: an asyncio loop that serves the Unix socket and the virtio-serial port.

Effects: a thread, sockets, a device. The actor around it only starts it, asks whether it is well, and stops it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nullbox.gateway.backend import Backend
from nullbox.gateway.collector import collect_denials, record_boot
from nullbox.gateway.console import PATH as CONSOLE
from nullbox.gateway.console import Console, show
from nullbox.gateway.core import Core
from nullbox.gateway.handlers import Handlers
from nullbox.gateway.journal import Journal
from nullbox.gateway.machine import find_port, kernel_crash
from nullbox.gateway.roles import PORT_CHANNEL, Roles
from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.layout import Layout
from nullbox.rpc.limits import Limits
from nullbox.rpc.server import LineServer

log = logging.getLogger(__name__)

PORT_NAME = "nullbox.gateway.0"
LIMITS = Limits()
PORT_LIMITS = Limits(in_flight=1024, subscriptions=256)
"""The host's relay puts several clients on the one port."""
BEAT = 0.5
SICK_AFTER = 10.0
"""Seconds without a turn of the loop after which the gateway counts as stuck."""


class GatewayService:
    """See the module. `start` returns once the gateway listens.

    config: `driver`, `socket`, `vsock` (a port, for the machine's host), `operators`, `readers`,
        `egress`; all optional.
    port: the virtio-serial device; None looks for the port named `nullbox.gateway.0`.
    console: written to only where there is such a port: anywhere else the console is somebody else's.
    """

    def __init__(
        self,
        backend: Backend,
        layout: Layout,
        config: Mapping[str, Any] | None = None,
        *,
        port: Path | None = None,
        console: Path = CONSOLE,
        limits: Limits = LIMITS,
    ) -> None:
        config = config or {}
        self._backend = backend
        self._layout = layout
        self._roles = Roles.from_config(config)
        self._driver = str(config.get("driver", "krun"))
        self._egress = config.get("egress")
        self._limits = limits
        self._port = port
        self._console = console
        self.socket = Path(config.get("socket") or layout.gateway_socket)
        self._vsock: int = config.get("vsock") or 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._stopping: asyncio.Event | None = None
        self._changed = asyncio.Event()
        self._listening = threading.Event()
        self._error: BaseException | None = None
        self._beat = 0.0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that `backend.ask` is awaited in; for `call_soon_threadsafe`."""
        assert self._loop is not None, "the gateway is not started"
        return self._loop

    def start(self, timeout: float = 30.0) -> None:
        """Begin to serve.

        Raises:
            NullBoxError: it cannot listen: `conflict` where another process does.
            OSError: the socket cannot be made there.
        """
        self._thread = threading.Thread(target=self._main, name="gateway", daemon=True)
        self._thread.start()
        if not self._listening.wait(timeout):
            raise NullBoxError(ErrorCode.TIMEOUT, f"the gateway did not listen within {timeout:g} s")
        if self._error is not None:
            raise self._error

    def stop(self, timeout: float = 3.0) -> None:
        """Close all connections and the sockets. Safe to call twice, and when it never started."""
        if self._loop is not None and self._stopping is not None:
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._stopping.set)
        if self._thread is not None:
            self._thread.join(timeout)

    def peers_changed(self) -> None:
        """An actor came or went: somebody may want to see it."""
        with contextlib.suppress(RuntimeError):  # the loop is closed
            self.loop.call_soon_threadsafe(self._changed.set)

    def healthy(self) -> bool:
        """Whether the thread lives and its loop turns."""
        alive = self._thread is not None and self._thread.is_alive()
        return alive and self._error is None and time.monotonic() - self._beat < SICK_AFTER

    # --- in the thread --------------------------------------------------------------------------------------

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except BaseException as error:
            self._error = error
            if self._listening.is_set():
                raise  # `start` has returned: nobody but `threading.excepthook` hears of it, which ends the actor
            log.exception("the gateway did not start")
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        journal = Journal(self._layout.journal)
        core = Core(self._backend, self._layout, journal, self._driver, self._egress)
        handlers = Handlers(core, self._roles)
        server = LineServer(handlers.handle, limits=self._limits, deadline=handlers.deadline)
        console = Console(self._console)
        collecting: list[asyncio.Task[None]] = []
        try:
            await server.listen(self.socket, mode=self._roles.socket_mode)
            await self._serve_vsock(server)
            if await self._serve_port(server):
                collecting.append(asyncio.create_task(show(core, console, self._changed)))
            collecting.append(asyncio.create_task(journal.keep_synced()))
            record_boot(journal, kernel_crash(self._layout))
            collecting.append(asyncio.create_task(core.collector.run()))
            collecting.append(asyncio.create_task(collect_denials(self._backend, journal)))
            self._beat = time.monotonic()
            self._listening.set()
            stopping = asyncio.create_task(self._stopping.wait())
            while not stopping.done():
                self._beat = time.monotonic()
                await asyncio.wait((stopping, *collecting), timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
                for task in collecting:
                    if task.done():  # they run for ever: what ended it ends the gateway
                        raise task.exception() or RuntimeError(f"{task.get_coro()} has returned")
        finally:
            for task in collecting:
                task.cancel()
            goodbye = NullBoxError(ErrorCode.UNAVAILABLE, "the gateway is shutting down")
            await server.close(error=goodbye)
            await core.close()
            journal.close()
            console.close()

    async def _serve_vsock(self, server: LineServer) -> None:
        """The vsock port, if one is configured. Like the serial port, nothing depends on it."""
        if not self._vsock:
            return
        try:
            await server.listen_vsock(self._vsock)
        except OSError as error:
            log.warning("cannot serve vsock port %s: %s", self._vsock, error)

    async def _serve_port(self, server: LineServer) -> bool:
        """Whether there is a port, and so a machine that is ours, console and all."""
        device = self._port or find_port(PORT_NAME)
        if device is None:
            log.info("no virtio-serial port %s here; serving %s alone", PORT_NAME, self.socket)
            return False
        try:
            fd = os.open(device, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            # The socket works without it, and someone inside may need the socket to find out why.
            log.error("cannot open %s: %s; the host cannot reach the gateway", device, error)
            return False
        await server.serve_port(fd, channel=PORT_CHANNEL, limits=PORT_LIMITS)
        return True

"""`python -m nullbox.host.keeper PLAN.json`: the process that holds a machine: QEMU and the relay. Effects: all.

It outlives the command that started it and ends with QEMU. On SIGTERM or SIGINT it ends QEMU at once; the orderly way
is `power.off` through the gateway, after which QEMU ends by itself.

QEMU's control socket tells when the gateway in the machine opens and closes its end of the port (`VSERPORT_CHANGE`),
so that requests under way when it dies fail at once instead of never.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from pathlib import Path
from typing import Any, cast

from qemu.qmp import EventListener, QMPClient, QMPError

from nullbox.host import record
from nullbox.host.record import Process, Record
from nullbox.host.relay import Relay

log = logging.getLogger("nullbox.host")

QMP_SECONDS = 20.0
END_SECONDS = 3.0


def process_of(pid: int) -> Process:
    """A running child of ours, as a record names it."""
    return Process(pid, record.start_time(pid) or 0)


def frontend_open(chardevs: list[dict[str, Any]], label: str) -> bool:
    """Whether the machine has opened the device behind a chardev, by QMP's `query-chardev`."""
    return any(item.get("label") == label and item.get("frontend-open") for item in chardevs)


async def follow_port(socket: Path, relay: Relay) -> None:
    """Tell the relay whether the gateway's port is open in the machine, until QEMU ends."""
    client = QMPClient("nullbox")
    deadline = asyncio.get_running_loop().time() + QMP_SECONDS
    while True:
        try:
            await client.connect(str(socket))
            break
        except (QMPError, OSError):
            if asyncio.get_running_loop().time() > deadline:
                raise
            await client.disconnect()
            await asyncio.sleep(0.05)
    try:
        listener = EventListener("VSERPORT_CHANGE")
        with client.listen(listener):
            if frontend_open(await client.execute("query-chardev"), "gateway"):  # type: ignore[arg-type]
                relay.port_opened()
            async for event in listener:
                data = cast("dict[str, Any]", event["data"])
                if data["id"] == "gateway":
                    (relay.port_opened if data["open"] else relay.port_closed)()
    finally:
        with contextlib.suppress(QMPError, OSError):
            await client.disconnect()


async def keep(plan: dict[str, Any]) -> int:
    """Run the machine of a plan; returns QEMU's exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    for name in ("gateway", "qmp"):
        Path(plan[name]).unlink(missing_ok=True)
    relay = Relay(Path(plan["gateway"]), Path(plan["socket"]), await_port=True)
    await relay.start()
    qemu = await asyncio.create_subprocess_exec(*plan["argv"], stdin=asyncio.subprocess.DEVNULL)
    own = Record(process_of(os.getpid()), process_of(qemu.pid), plan["identity"], plan["acceleration"])
    record.write(Path(plan["record"]), own)
    log.info("qemu runs as %d", qemu.pid)
    ended = loop.create_task(qemu.wait())
    port = loop.create_task(follow_port(Path(plan["qmp"]), relay))
    stopped = loop.create_task(stop.wait())
    try:
        await asyncio.wait({ended, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            log.info("asked to end; ending qemu")
            qemu.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.shield(ended), END_SECONDS)
        if not ended.done():
            qemu.kill()
        code = await ended
        log.info("qemu ended with %d", code)
    finally:
        port.cancel()
        stopped.cancel()
        for outcome in await asyncio.gather(port, stopped, return_exceptions=True):
            if isinstance(outcome, Exception) and not isinstance(outcome, QMPError):
                log.warning("following the gateway's port: %r", outcome)
        await relay.close()
        Path(plan["record"]).unlink(missing_ok=True)
        for name in ("gateway", "qmp"):
            Path(plan[name]).unlink(missing_ok=True)
    return code


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    logging.getLogger("qemu.qmp").setLevel(logging.CRITICAL)  # it reports each try to connect
    return asyncio.run(keep(json.loads(Path(sys.argv[1]).read_text())))


if __name__ == "__main__":
    sys.exit(main())

"""The port transport on pseudo-terminals, which behave like a virtio-serial port when their far end closes."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import tty
from collections.abc import AsyncIterator
from typing import Any

from nullbox.rpc.call import Call
from nullbox.rpc.server import LineServer

REQUEST = b'{"jsonrpc":"2.0","method":"%s","id":"%s"}\n'


class Far:
    """The far end of the port, as the host opens and closes it."""

    def __init__(self, path: str) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY)
        tty.setraw(self.fd)
        os.set_blocking(self.fd, False)
        self.buffer = b""

    async def line(self) -> Any:
        loop = asyncio.get_running_loop()
        while b"\n" not in self.buffer:
            ready = asyncio.Event()
            loop.add_reader(self.fd, ready.set)
            await ready.wait()
            loop.remove_reader(self.fd)
            self.buffer += os.read(self.fd, 65536)
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def send(self, data: bytes) -> None:
        os.write(self.fd, data)

    def close(self) -> None:
        os.close(self.fd)


def test_a_port_serves_one_client_after_the_other_and_does_not_spin() -> None:
    closed = asyncio.Event()

    async def ticks() -> AsyncIterator[int]:
        try:
            yield 1
            await asyncio.Event().wait()
        finally:
            closed.set()

    async def handle(call: Call) -> Any:
        assert call.peer.channel == "virtio-serial"
        assert call.peer.uid is None
        return call.stream(ticks()) if call.method == "ticks" else {"method": call.method, **call.params}

    async def main() -> None:
        near, other = os.openpty()
        path = os.ttyname(other)
        tty.setraw(other)
        os.close(other)
        server = LineServer(handle)
        await server.serve_port(near)
        async with asyncio.timeout(20):
            far = Far(path)
            far.send(REQUEST % (b"one", b"a"))
            assert (await far.line())["result"] == {"method": "one"}
            far.send(REQUEST % (b"ticks", b"b"))
            assert (await far.line())["result"] == {"subscription": "s1"}
            assert (await far.line())["params"]["value"] == 1
            far.send(b'{"half a line')
            far.close()
            await closed.wait()

            # Nobody is there: the loop must sleep, though poll says HUP all the time.
            before = resource.getrusage(resource.RUSAGE_SELF)
            await asyncio.sleep(0.5)
            after = resource.getrusage(resource.RUSAGE_SELF)
            assert (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime) < 0.1

            again = Far(path)
            again.send(b"\n" + REQUEST % (b"two", b"c"))
            answer = await again.line()
            assert answer["id"] == "c"
            # A line beyond the limit is dropped, answered, and the next one is read.
            answers = asyncio.create_task(again.line())
            big = b"x" * 300_000
            for _ in range(4):
                rest = big
                while rest:
                    try:
                        rest = rest[os.write(again.fd, rest) :]
                    except BlockingIOError:
                        await asyncio.sleep(0.001)
            assert (await answers)["error"]["data"]["code"] == "too_large"
            again.send(b"\n" + REQUEST % (b"three", b"d"))
            assert (await again.line())["result"] == {"method": "three"}
            again.close()
        await server.close()

    asyncio.run(main())


def test_a_large_answer_passes_in_pieces() -> None:
    async def handle(call: Call) -> Any:
        return "x" * 700_000

    async def main() -> None:
        near, other = os.openpty()
        path = os.ttyname(other)
        tty.setraw(other)
        server = LineServer(handle)
        await server.serve_port(near)
        async with asyncio.timeout(20):
            far = Far(path)
            far.send(REQUEST % (b"large", b"a"))
            assert len((await far.line())["result"]) == 700_000
            far.close()
        os.close(other)
        await server.close()

    asyncio.run(main())

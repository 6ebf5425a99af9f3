"""Streams: their openings, values and ends, and readers that are slow, gone or greedy."""

from __future__ import annotations

import asyncio
import socket
import threading
from pathlib import Path

import pytest
from line_service import DEADLINE, Raw, Service, serve

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.aio import AsyncClient
from nullbox.rpc.client import Client
from nullbox.rpc.limits import Limits
from nullbox.rpc.server import LineServer


def test_a_stream_has_an_opening_values_and_an_end(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        raw = await Raw.connect(path)
        opening = await raw.ask(b'{"jsonrpc":"2.0","method":"count","params":{"to":2},"id":1}')
        assert opening["result"] == {"of": "numbers", "subscription": "s1"}
        got = [(await raw.receive())["params"] for _ in range(3)]
        assert got == [
            {"subscription": "s1", "value": 1},
            {"subscription": "s1", "value": 2},
            {"subscription": "s1", "end": True},
        ]
        assert service.closed.is_set()

    serve(tmp_path, body)


def test_a_stream_that_fails_says_why(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        async with AsyncClient(path) as client:
            with pytest.raises(NullBoxError, match="source is gone") as caught:
                _ = [value async for value in client.stream("fail later")]
            assert caught.value.code is ErrorCode.UNAVAILABLE

    serve(tmp_path, body)


def test_cancel_ends_a_stream_and_nothing_follows_its_answer(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        raw = await Raw.connect(path)
        await raw.ask(b'{"jsonrpc":"2.0","method":"count","id":1}')
        raw.send(b'{"jsonrpc":"2.0","method":"stream.cancel","params":{"subscription":"s1"},"id":2}\n')
        while (message := await raw.receive()).get("id") != 2:
            assert message["method"] == "stream"
        assert message["result"] == {"cancelled": "s1"}
        after = await raw.ask(b'{"jsonrpc":"2.0","method":"stream.cancel","params":{"subscription":"s1"},"id":3}')
        assert after["error"]["data"]["code"] == "not_found"
        await service.closed.wait()

    serve(tmp_path, body)


def test_a_slow_reader_holds_up_the_source_and_nobody_else(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        slow = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        slow.connect(str(path))
        slow.sendall(b'{"jsonrpc":"2.0","method":"count","params":{"size":10000},"id":1}\n')
        async with AsyncClient(path) as client:
            seen = -1
            while seen != service.produced or seen < 1:
                seen = service.produced
                for _ in range(50):
                    await client.call("get_data")
        assert service.produced < 200  # 10 kB each: what fits the socket's and the transport's buffers
        slow.close()
        await service.closed.wait()

    serve(tmp_path, body)


def test_a_source_that_never_waits_starves_nobody(tmp_path: Path) -> None:
    def take(path: Path) -> None:
        with socket.socket(socket.AF_UNIX) as greedy:
            greedy.settimeout(DEADLINE)
            greedy.connect(str(path))
            greedy.sendall(b'{"jsonrpc":"2.0","method":"rush","id":1}\n')
            taken = 0
            while taken < 20_000_000:
                taken += len(greedy.recv(1 << 20))

    async def body(path: Path, service: Service, server: LineServer) -> None:
        taking = asyncio.create_task(asyncio.to_thread(take, path))
        answers = 0
        async with AsyncClient(path) as client:
            while not taking.done():
                assert await client.call("get_data") == ["hello", 5]
                answers += 1
        await taking
        assert answers > 20

    serve(tmp_path, body)


def test_a_reader_that_takes_nothing_is_dropped(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        stuck = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stuck.connect(str(path))
        stuck.sendall(b'{"jsonrpc":"2.0","method":"count","params":{"size":10000},"id":1}\n')
        await service.closed.wait()
        stuck.close()

    serve(tmp_path, body, Limits(stall=0.4))


def test_leaving_an_asyncio_stream_cancels_it_and_the_client_goes_on(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        async with AsyncClient(path) as client:
            stream = client.stream("count")
            async for value in stream:
                if value >= 1000:
                    break
            await stream.aclose()  # type: ignore[attr-defined]
            await service.closed.wait()
            assert await client.call("get_data") == ["hello", 5]

    serve(tmp_path, body)


def test_the_blocking_client(tmp_path: Path) -> None:
    def work(path: Path) -> None:
        with Client(path) as client:
            assert client.call("echo", {"a": 1}) == {"a": 1}
            with client.stream("count", {"to": 3}) as numbers:
                assert numbers.opening["of"] == "numbers"
                assert client.call("get_data") == ["hello", 5]
                assert list(numbers) == [1, 2, 3]
            with pytest.raises(NullBoxError) as caught:
                client.call("hang", timeout=0.1)
            assert caught.value.code is ErrorCode.TIMEOUT
            assert client.call("get_data") == ["hello", 5]
            with client.stream("count") as numbers:
                assert numbers.next(timeout=5) == 4
            assert client.call("get_data") == ["hello", 5]

    async def body(path: Path, service: Service, server: LineServer) -> None:
        await asyncio.to_thread(work, path)

    serve(tmp_path, body)


def test_a_client_that_was_idle_too_long_connects_anew(tmp_path: Path) -> None:
    """The server hangs up with a last line; the next call must not take that for its answer."""

    def work(path: Path, closed: threading.Event) -> None:
        with Client(path) as client:
            for _ in range(2):
                assert client.call("get_data") == ["hello", 5]
                assert closed.wait(DEADLINE)
                closed.clear()

    async def body(path: Path, service: Service, server: LineServer) -> None:
        closed = threading.Event()
        working = asyncio.create_task(asyncio.to_thread(work, path, closed))
        connected = False
        while not working.done():
            if connected and server.connections == 0:
                closed.set()
            connected = server.connections > 0
            await asyncio.sleep(0.01)
        await working

    serve(tmp_path, body, Limits(idle=0.2))

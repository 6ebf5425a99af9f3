"""What hostile and unlucky clients may cost the line server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from pathlib import Path

from line_service import DEADLINE, Raw, Service, serve

from nullbox.rpc.aio import AsyncClient
from nullbox.rpc.limits import Limits
from nullbox.rpc.server import LineServer


def test_half_lines_are_put_together_and_an_unfinished_one_times_out(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        raw = await Raw.connect(path)
        for byte in b'{"jsonrpc":"2.0","method":"get_data","id":1}\n':
            raw.send(bytes([byte]))
            await raw.writer.drain()
        assert (await raw.receive())["id"] == 1
        raw.send(b'{"jsonrpc":')
        last = json.loads((await raw.ended()).splitlines()[-1])
        assert last["error"]["data"]["code"] == "timeout"

    serve(tmp_path, body, Limits(stall=0.4))


def test_an_idle_connection_is_closed_but_not_while_something_is_under_way(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        idle, busy = await Raw.connect(path), await Raw.connect(path)
        busy.send(b'{"jsonrpc":"2.0","method":"hang","id":1}\n')
        last = json.loads((await idle.ended()).splitlines()[-1])
        assert last["error"]["data"]["code"] == "timeout"
        assert (await busy.receive())["id"] == 1  # its own deadline, a second later

    serve(tmp_path, body, Limits(idle=0.2, deadline=1.0))


def test_a_line_that_is_too_long_costs_the_connection_and_no_other(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        good, bad = await Raw.connect(path), await Raw.connect(path)
        bad.send(b"x" * ((1 << 20) + 1))
        last = json.loads((await bad.ended()).splitlines()[-1])
        assert last["error"]["data"]["code"] == "too_large"
        assert "1048576 bytes" in last["error"]["message"]
        assert (await good.ask(b'{"jsonrpc":"2.0","method":"get_data","id":1}'))["id"] == 1

    serve(tmp_path, body)


def test_requests_in_flight_are_limited(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        raw = await Raw.connect(path)
        for number in range(4):
            raw.send(b'{"jsonrpc":"2.0","method":"hang","id":%d}\n' % number)
        refused = await raw.ask(b'{"jsonrpc":"2.0","method":"get_data","id":"over"}')
        assert refused["id"] == "over"
        assert refused["error"]["data"]["code"] == "unavailable"

    serve(tmp_path, body, Limits(in_flight=4))


def test_a_flood_is_refused_and_then_cut_off(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        def flood() -> bytes:
            received = b""
            with socket.socket(socket.AF_UNIX) as sock, contextlib.suppress(OSError):
                sock.settimeout(DEADLINE)
                sock.connect(str(path))
                with contextlib.suppress(OSError):
                    for _ in range(1000):
                        sock.sendall(b'{"jsonrpc":"2.0","method":"get_data","id":1}\n' * 20)
                while data := sock.recv(65536):
                    received += data
            return received

        async with AsyncClient(path) as good:
            flooding = asyncio.create_task(asyncio.to_thread(flood))
            while not flooding.done():
                assert await good.call("get_data") == ["hello", 5]
                await asyncio.sleep(0.05)
        lines = (await flooding).splitlines()
        codes = [json.loads(text).get("error", {}).get("data", {}).get("code") for text in lines]
        assert "unavailable" in codes
        assert "closed" in json.loads(lines[-1])["error"]["message"]

    serve(tmp_path, body, Limits(rate=50, burst=50, fault_burst=20, in_flight=10_000))


def test_nonsense_is_answered_and_then_cut_off(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        raw = await Raw.connect(path)
        raw.send(b"nonsense\n" * 200)
        lines = [json.loads(text) for text in (await raw.ended()).splitlines()]
        assert all(line["error"]["code"] == -32700 for line in lines[:-1])
        assert 20 <= len(lines) <= 60
        assert "closed" in lines[-1]["error"]["message"]

    serve(tmp_path, body, Limits(fault_burst=20))


def test_connections_are_limited(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        first = [await Raw.connect(path) for _ in range(3)]
        for raw in first:
            await raw.ask(b'{"jsonrpc":"2.0","method":"get_data","id":1}')
        over = await Raw.connect(path)
        last = json.loads((await over.ended()).splitlines()[-1])
        assert last["error"]["data"]["code"] == "unavailable"
        first[0].close()
        await first[0].ended()
        again = await Raw.connect(path)
        assert (await again.ask(b'{"jsonrpc":"2.0","method":"get_data","id":1}'))["id"] == 1

    serve(tmp_path, body, Limits(connections=3))


def test_many_clients_at_once(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        async def one(number: int) -> None:
            async with AsyncClient(path) as client:
                for step in range(5):
                    assert await client.call("echo", {"n": [number, step]}) == {"n": [number, step]}

        await asyncio.gather(*(one(number) for number in range(200)))

    serve(tmp_path, body)

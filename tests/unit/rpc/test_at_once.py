"""Handlers that have the result at once, or later without a task: answers, deadlines, fairness, and who went away."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.protocols.jsonrpc import Encoded
from nullbox.rpc.aio import AsyncClient
from nullbox.rpc.call import Call
from nullbox.rpc.later import Later
from nullbox.rpc.server import LineServer

DEADLINE = 20.0


class Plain:
    """`now` answers at once, `later` when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Later] = []
        self.served = 0
        self.arrived = asyncio.Event()

    def handle(self, call: Call) -> Any:
        self.served += 1
        match call.method:
            case "now":
                return call.params
            case "text":
                return Encoded('{"n":[1,"\u00e9"]}'.encode())
            case "large":
                return "x" * 100_000
            case "refuse":
                raise NullBoxError(ErrorCode.DENIED, "no")
            case "bug":
                raise KeyError("inside")
            case "count":
                return call.stream(self._count(), of="numbers")
        self.waiting.append(Later())
        self.arrived.set()
        return self.waiting[-1]

    async def _count(self) -> Any:
        for number in range(3):
            yield number


Body = Callable[[Path, Plain, LineServer], Awaitable[None]]


def serve(tmp_path: Path, body: Body, seconds: float = 10.0) -> None:
    async def main() -> None:
        plain = Plain()
        server = LineServer(plain.handle, deadline=lambda call: seconds)
        await server.listen(tmp_path / "s")
        try:
            async with asyncio.timeout(DEADLINE):
                await body(tmp_path / "s", plain, server)
        finally:
            await server.close()

    asyncio.run(main())


def line(method: str, id: int | None = None) -> bytes:
    message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": {}}
    return json.dumps(message | ({} if id is None else {"id": id})).encode() + b"\n"


def test_a_result_at_once_a_refusal_and_a_fault(tmp_path: Path) -> None:
    async def body(path: Path, plain: Plain, server: LineServer) -> None:
        async with AsyncClient(path) as client:
            assert await client.call("now", {"a": 1}) == {"a": 1}
            for method, code in (("refuse", ErrorCode.DENIED), ("bug", ErrorCode.INTERNAL)):
                with pytest.raises(NullBoxError) as caught:
                    await client.call(method)
                assert caught.value.code is code
            assert [value async for value in client.stream("count")] == [0, 1, 2]
            assert await client.call("text") == {"n": [1, "\u00e9"]}

    serve(tmp_path, body)


@pytest.mark.parametrize("outcome", [{"n": 1}, None, NullBoxError(ErrorCode.CONFLICT, "no")])
def test_a_later_result_goes_to_who_asked_for_it(tmp_path: Path, outcome: Any) -> None:
    async def body(path: Path, plain: Plain, server: LineServer) -> None:
        async with AsyncClient(path) as client:
            calls = [asyncio.create_task(client.call("later")) for _ in range(3)]
            while len(plain.waiting) < 3:
                plain.arrived.clear()
                await plain.arrived.wait()
            plain.waiting[1].settle(outcome)
            plain.waiting[1].settle("a second one counts for nothing")
            if isinstance(outcome, NullBoxError):
                with pytest.raises(NullBoxError, match="no"):
                    await calls[1]
            else:
                assert await calls[1] == outcome
            assert not calls[0].done()
            for waiting in plain.waiting:
                waiting.settle(7)
            assert [await calls[0], await calls[2]] == [7, 7]

    serve(tmp_path, body)


def test_a_result_that_comes_after_the_deadline_is_too_late(tmp_path: Path) -> None:
    async def body(path: Path, plain: Plain, server: LineServer) -> None:
        async with AsyncClient(path) as client:
            with pytest.raises(NullBoxError, match=r"within 0\.1 s") as caught:
                await client.call("later")
            assert caught.value.code is ErrorCode.TIMEOUT
            plain.waiting[0].settle(1)
            assert await client.call("now", {"b": 2}) == {"b": 2}

    serve(tmp_path, body, seconds=0.1)


def test_a_result_for_somebody_who_left_is_dropped(tmp_path: Path) -> None:
    async def body(path: Path, plain: Plain, server: LineServer) -> None:
        _, writer = await asyncio.open_unix_connection(str(path))
        writer.write(line("later", 1))
        await plain.arrived.wait()
        writer.close()
        async with AsyncClient(path) as client:
            while server.connections > 1:
                await client.call("now")
            plain.waiting[0].settle(1)
            assert await client.call("now", {"c": 3}) == {"c": 3}

    serve(tmp_path, body)


def test_a_batch_waits_for_its_last_member_and_notifications_are_not_answered(tmp_path: Path) -> None:
    async def body(path: Path, plain: Plain, server: LineServer) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        members = [line("later", 1), line("now", 2), line("refuse", 3), line("now"), line("text", 4)]
        writer.write(line("now") + b"[" + b",".join(each.strip() for each in members) + b"]\n")
        await plain.arrived.wait()
        plain.waiting[0].settle("then")
        answers = {each["id"]: each for each in json.loads(await reader.readline())}
        assert set(answers) == {1, 2, 3, 4}
        assert answers[4]["result"] == {"n": [1, "\u00e9"]}
        assert (answers[1]["result"], answers[2]["result"]) == ("then", {})
        assert answers[3]["error"]["data"]["code"] == "denied"
        writer.close()

    serve(tmp_path, body)


def test_a_half_close_waits_for_what_comes_later(tmp_path: Path) -> None:
    async def body(path: Path, plain: Plain, server: LineServer) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(line("later", 1))
        writer.write_eof()
        await plain.arrived.wait()
        async with AsyncClient(path) as client:
            await client.call("now")
        plain.waiting[0].settle("there")
        assert json.loads(await reader.read())["result"] == "there"

    serve(tmp_path, body)


def test_many_requests_in_one_piece_are_all_answered_in_order_and_let_others_in_between(tmp_path: Path) -> None:
    count = 5_000

    async def body(path: Path, plain: Plain, server: LineServer) -> None:
        reader, writer = await asyncio.open_unix_connection(str(path), limit=1 << 22)
        async with AsyncClient(path) as client:
            await client.call("now")
            writer.write(b"".join(line("now", number) for number in range(count)))
            turns = []
            while plain.served < count:
                await client.call("now")
                turns.append(plain.served)
            assert len(turns) > 10, "another client had its turns meanwhile"
        answers = [json.loads(await reader.readline())["id"] for _ in range(count)]
        assert answers == list(range(count))
        writer.close()

    serve(tmp_path, body)


def test_a_peer_that_asks_and_takes_nothing_is_not_served_on(tmp_path: Path) -> None:
    """Results at once must not pile up in memory: 300 of them would be 30 MB."""

    async def body(path: Path, plain: Plain, server: LineServer) -> None:
        with socket.socket(socket.AF_UNIX) as greedy:
            greedy.connect(str(path))
            greedy.sendall(b"".join(line("large", number) for number in range(300)))
            async with AsyncClient(path) as client:
                seen, own = -1, 0
                while seen != plain.served - own:
                    seen = plain.served - own
                    for _ in range(20):
                        await client.call("now")
                    own += 20
                assert seen < 100
                greedy.setblocking(False)
                taken = 0
                while taken < 300:
                    await client.call("now")
                    try:
                        taken += greedy.recv(1 << 20).count(b"\n")
                    except BlockingIOError:
                        continue
            assert taken == 300

    serve(tmp_path, body)

"""The line server on a real Unix socket: the specification's examples (its section 7), calls, errors, the socket."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from line_service import Raw, Service, serve

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.aio import AsyncClient
from nullbox.rpc.client import Client, Unreachable
from nullbox.rpc.server import LineServer


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ('{"jsonrpc": "2.0", "method": "subtract", "params": [42, 23], "id": 1}', {"result": 19, "id": 1}),
        ('{"jsonrpc": "2.0", "method": "subtract", "params": [23, 42], "id": 2}', {"result": -19, "id": 2}),
        (
            '{"jsonrpc": "2.0", "method": "subtract", "params": {"subtrahend": 23, "minuend": 42}, "id": 3}',
            {"result": 19, "id": 3},
        ),
        (
            '{"jsonrpc": "2.0", "method": "subtract", "params": {"minuend": 42, "subtrahend": 23}, "id": 4}',
            {"result": 19, "id": 4},
        ),
        ('{"jsonrpc": "2.0", "method": "update", "params": [1,2,3,4,5]}', None),
        ('{"jsonrpc": "2.0", "method": "foobar"}', None),
        ('{"jsonrpc": "2.0", "method": "foobar", "id": "1"}', {"error": -32001, "id": "1"}),
        ('{"jsonrpc": "2.0", "method": "foobar, "params": "bar", "baz]', {"error": -32700, "id": None}),
        ('{"jsonrpc": "2.0", "method": 1, "params": "bar"}', {"error": -32600, "id": None}),
        (
            '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},{"jsonrpc": "2.0", "method"',
            {"error": -32700, "id": None},
        ),
        ("[]", {"error": -32600, "id": None}),
        ("[1]", [{"error": -32600, "id": None}]),
        ("[1,2,3]", [{"error": -32600, "id": None}] * 3),
        (
            '[{"jsonrpc": "2.0", "method": "sum", "params": [1,2,4], "id": "1"},'
            '{"jsonrpc": "2.0", "method": "notify_hello", "params": {}},'
            '{"jsonrpc": "2.0", "method": "subtract", "params": [42,23], "id": "2"},'
            '{"foo": "boo"},'
            '{"jsonrpc": "2.0", "method": "foo.get", "params": {"name": "myself"}, "id": "5"},'
            '{"jsonrpc": "2.0", "method": "get_data", "id": "9"}]',
            [
                {"result": 7, "id": "1"},
                {"result": 19, "id": "2"},
                {"error": -32600, "id": None},
                {"error": -32001, "id": "5"},
                {"result": ["hello", 5], "id": "9"},
            ],
        ),
        (
            '[{"jsonrpc": "2.0", "method": "notify_sum", "params": {}},'
            '{"jsonrpc": "2.0", "method": "notify_hello", "params": {}}]',
            None,
        ),
    ],
)
def test_examples_of_the_specification(tmp_path: Path, line: str, expected: Any) -> None:
    def short(answer: Any) -> Any:
        if isinstance(answer, list):
            return [short(one) for one in answer]
        assert answer["jsonrpc"] == "2.0"
        if "error" in answer:
            return {"error": answer["error"]["code"], "id": answer["id"]}
        return {"result": answer["result"], "id": answer["id"]}

    async def body(path: Path, service: Service, server: LineServer) -> None:
        raw = await Raw.connect(path)
        raw.send(line.encode() + b"\n")
        if expected is not None:
            assert short(await raw.receive()) == expected
        # Whatever it was, the connection lives, and nothing else was answered.
        assert short(await raw.ask(b'{"jsonrpc":"2.0","method":"get_data","id":"probe"}'))["id"] == "probe"
        raw.close()

    serve(tmp_path, body)


def test_identity_comes_from_the_kernel(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        async with AsyncClient(path) as client:
            assert await client.call("who", {"uid": 1234}) == {
                "pid": os.getpid(),
                "uid": os.getuid(),
                "gid": os.getgid(),
                "channel": "unix",
            }

    serve(tmp_path, body)


def test_errors_arrive_with_word_message_and_data(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        async with AsyncClient(path) as client:
            for method, code, says in [
                ("refuse", ErrorCode.WRONG_STATE, "resume it first"),
                ("nonsense", ErrorCode.NOT_FOUND, "nonsense"),
                ("bug", ErrorCode.INTERNAL, "failed inside"),
                ("bytes", ErrorCode.INTERNAL, "JSON"),
            ]:
                with pytest.raises(NullBoxError, match=says) as caught:
                    await client.call(method)
                assert caught.value.code is code
            assert caught.value.data == {}

    serve(tmp_path, body)


def test_a_deadline_becomes_timeout_and_cancels_the_handler(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        async with AsyncClient(path) as client:
            with pytest.raises(NullBoxError, match=r"within 0.2 s") as caught:
                await client.call("hang", {"brief": True})
            assert caught.value.code is ErrorCode.TIMEOUT
            assert service.cancelled.is_set()

    serve(tmp_path, body)


def test_an_answer_over_the_limit_is_too_large_and_the_connection_lives(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        async with AsyncClient(path) as client:
            with pytest.raises(NullBoxError) as caught:
                await client.call("large", {"size": 1 << 20})
            assert caught.value.code is ErrorCode.TOO_LARGE
            assert len(await client.call("large", {"size": (1 << 20) - 200})) == (1 << 20) - 200

    serve(tmp_path, body)


def test_disconnect_in_the_middle_of_a_request_cancels_it(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        raw = await Raw.connect(path)
        raw.send(b'{"jsonrpc":"2.0","method":"hang","id":1}\n')
        assert await raw.ask(b'{"jsonrpc":"2.0","method":"get_data","id":2}')
        raw.close()
        await service.cancelled.wait()
        async with AsyncClient(path) as other:
            assert await other.call("get_data") == ["hello", 5]
            assert server.connections == 1

    serve(tmp_path, body)


def test_a_half_close_still_gets_its_answers(tmp_path: Path) -> None:
    async def body(path: Path, service: Service, server: LineServer) -> None:
        raw = await Raw.connect(path)
        raw.send(b'{"jsonrpc":"2.0","method":"get_data","id":1}\n{"jsonrpc":"2.0","method":"get_data","id":2}\n')
        raw.writer.write_eof()
        answers = [json.loads(line)["id"] for line in (await raw.ended()).splitlines()]
        assert answers == [1, 2]

    serve(tmp_path, body)


def test_unreachable_says_what_to_check(tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="is nulld running"):
        Client(tmp_path / "none.sock").call("version")
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "stale.sock"))
    stale.close()
    with pytest.raises(Unreachable, match="nobody answers"):
        Client(tmp_path / "stale.sock").call("version")


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(tmp_path: Path) -> None:
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(tmp_path / "s.sock"))
    stale.close()

    async def body(path: Path, service: Service, server: LineServer) -> None:
        with pytest.raises(NullBoxError) as caught:
            await LineServer(service.handle).listen(path)
        assert caught.value.code is ErrorCode.CONFLICT
        async with AsyncClient(path) as client:
            assert await client.call("get_data") == ["hello", 5]

    serve(tmp_path, body)
    assert not (tmp_path / "s.sock").exists()


def test_a_path_too_long_for_a_socket_is_refused_by_its_length(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(NullBoxError, match="107"):
            await LineServer(Service().handle).listen(tmp_path / ("x" * 120))

    asyncio.run(main())

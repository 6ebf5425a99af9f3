"""The line server on a real Unix socket: the specification's examples, hostile clients, limits, streams."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from nullbox.protocols.errors import ErrorCode, NullBoxError
from nullbox.rpc.aio import AsyncClient
from nullbox.rpc.call import Call
from nullbox.rpc.client import Client, Unreachable
from nullbox.rpc.limits import Limits
from nullbox.rpc.server import LineServer

DEADLINE = 20.0
DEFAULT = Limits()


class Service:
    """Methods with every way to behave. `cancelled` and `closed` count the ends that a service must see."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()
        self.closed = asyncio.Event()
        self.produced = 0

    async def handle(self, call: Call) -> Any:
        match call.method:
            case "subtract":
                return call.params["minuend"] - call.params["subtrahend"]
            case "sum":
                return sum(call.params.values())
            case "get_data":
                return ["hello", 5]
            case "update" | "notify_hello" | "notify_sum":
                return None
            case "echo":
                return call.params
            case "who":
                peer = call.peer
                return {"pid": peer.pid, "uid": peer.uid, "gid": peer.gid, "channel": peer.channel}
            case "hang":
                try:
                    await asyncio.Event().wait()
                finally:
                    self.cancelled.set()
            case "refuse":
                raise NullBoxError(ErrorCode.WRONG_STATE, "it is paused; resume it first", {"state": "paused"})
            case "bug":
                raise KeyError("inside")
            case "bytes":
                return b"not JSON"
            case "large":
                return "x" * call.params["size"]
            case "count":
                return call.stream(self._count(call.params.get("to"), call.params.get("size", 1)), of="numbers")
            case "rush":
                return call.stream(self._rush())
            case "fail later":
                return call.stream(self._fail())
            case _:
                raise NullBoxError(ErrorCode.NOT_FOUND, f"no method {call.method}")
        return None

    async def _count(self, to: int | None, size: int) -> AsyncIterator[Any]:
        try:
            while to is None or self.produced < to:
                self.produced += 1
                yield self.produced if size == 1 else "x" * size
                await asyncio.sleep(0)
        finally:
            self.closed.set()

    async def _rush(self) -> AsyncIterator[Any]:
        """Never waits for anything, as a reader of a file does not."""
        while True:
            self.produced += 1
            yield "x" * 1000

    async def _fail(self) -> AsyncIterator[Any]:
        yield 1
        raise NullBoxError(ErrorCode.UNAVAILABLE, "the source is gone")


def names(method: str) -> list[str] | None:
    return {"subtract": ["minuend", "subtrahend"], "sum": ["a", "b", "c"], "update": list("abcde")}.get(method)


def serve(
    tmp_path: Path, body: Callable[[Path, Service, LineServer], Awaitable[None]], limits: Limits = DEFAULT
) -> None:
    async def main() -> None:
        service = Service()
        server = LineServer(
            service.handle,
            limits=limits,
            deadline=lambda call: 0.2 if call.params.get("brief") else limits.deadline,
            names=names,
        )
        path = tmp_path / "s.sock"
        await server.listen(path)
        try:
            async with asyncio.timeout(DEADLINE):
                await body(path, service, server)
        finally:
            await server.close()

    asyncio.run(main())


class Raw:
    """A client that sends what it is told to, byte by byte if need be."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, path: Path) -> Raw:
        return cls(*await asyncio.open_unix_connection(str(path), limit=4 << 20))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self) -> Any:
        return json.loads(await self.reader.readline())

    async def ask(self, data: bytes) -> Any:
        self.send(data + b"\n")
        return await self.receive()

    async def ended(self) -> bytes:
        """Everything up to the server's closing."""
        rest = b""
        try:
            while data := await self.reader.read(65536):
                rest += data
        except ConnectionResetError:
            pass
        return rest

    def close(self) -> None:
        self.writer.close()


# --- the examples of the specification, section 7 -----------------------------------------------------------


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


# --- calls and errors ---------------------------------------------------------------------------------------


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


# --- limits -------------------------------------------------------------------------------------------------


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


# --- streams ------------------------------------------------------------------------------------------------


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


# --- the socket itself --------------------------------------------------------------------------------------


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

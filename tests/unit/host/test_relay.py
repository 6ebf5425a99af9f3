"""The relay over real sockets, with a gateway that the test plays."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from nullbox.host.relay import Relay, RelayLimits
from nullbox.protocols.framing import MAX_LINE

SECONDS = 20.0


class Gateway:
    """The machine's side: QEMU's socket, and whatever the test wants answered."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self.connections: asyncio.Queue[asyncio.StreamWriter] = asyncio.Queue()
        self.reading = asyncio.Event()
        self.reading.set()

    async def start(self) -> None:
        self.server = await asyncio.start_unix_server(self._serve, str(self.path), limit=2 * MAX_LINE)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self.connections.put(writer)
        while True:
            await self.reading.wait()
            line = await reader.readline()
            if not line:
                return
            if line.strip():
                await self.lines.put(line)

    async def request(self) -> dict[str, Any]:
        return dict(json.loads(await self.lines.get()))


class Client:
    """A client of the relay."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def open(cls, path: Path) -> Client:
        return cls(*await asyncio.open_unix_connection(str(path), limit=4 * MAX_LINE))

    def send(self, *messages: Any) -> None:
        for message in messages:
            raw = message if isinstance(message, bytes) else json.dumps(message).encode()
            self.writer.write(raw + b"\n")

    def ask(self, method: str, id: Any, **params: Any) -> None:
        self.send({"jsonrpc": "2.0", "method": method, "id": id, "params": params})

    async def receive(self) -> Any:
        line = await self.reader.readline()
        return json.loads(line) if line else None


Story = Callable[[Relay, Gateway, asyncio.StreamWriter], Awaitable[None]]


def play(folder: Path, story: Story, limits: RelayLimits | None = None, await_port: bool = False) -> None:
    """Run a story with a relay that is connected to its gateway."""

    async def run() -> None:
        gateway = Gateway(folder / "port")
        relay = Relay(folder / "port", folder / "sock", limits=limits, await_port=await_port)
        await gateway.start()
        await relay.start()
        machine = await gateway.connections.get()
        try:
            await story(relay, gateway, machine)
        finally:
            await relay.close()
            machine.close()
            gateway.server.close()

    asyncio.run(asyncio.wait_for(run(), SECONDS))


def reply(machine: asyncio.StreamWriter, request: dict[str, Any], result: Any) -> None:
    machine.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}).encode() + b"\n")


async def answered(client: Client, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
    """The client is served."""
    client.ask("status", "still there")
    reply(machine, await gateway.request(), "fine")
    assert (await client.receive())["result"] == "fine"


def test_clients_are_served_side_by_side(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        first, second = await Client.open(relay.listen), await Client.open(relay.listen)
        first.ask("a", 1)
        one = await gateway.request()
        second.ask("b", 1)
        two = await gateway.request()
        reply(machine, two, "second")
        reply(machine, one, "first")
        assert (await second.receive())["result"] == "second"
        assert (await first.receive())["result"] == "first"

    play(tmp_path, story)


def test_the_socket_is_its_owners_only(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        assert stat.S_IMODE(relay.listen.stat().st_mode) == 0o600

    play(tmp_path, story)


def test_nonsense_is_answered_and_costs_only_its_sender_the_connection(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        bad, good = await Client.open(relay.listen), await Client.open(relay.listen)
        bad.send(b"{nonsense")
        assert (await bad.receive())["error"]["code"] == -32700
        bad.send(*[b"{nonsense"] * 50)
        while await bad.receive():
            pass
        await answered(good, gateway, machine)

    play(tmp_path, story, RelayLimits(fault_rate=1.0, fault_burst=10.0))


def test_a_line_without_end_is_refused_and_ends_the_connection(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        bad, good = await Client.open(relay.listen), await Client.open(relay.listen)
        bad.writer.write(b"x" * (MAX_LINE + 2))
        assert (await bad.receive())["error"]["data"]["code"] == "too_large"
        assert await bad.receive() is None
        await answered(good, gateway, machine)

    play(tmp_path, story)


def test_a_client_that_takes_no_answers_loses_its_connection_and_its_stream(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        bad, good = await Client.open(relay.listen), await Client.open(relay.listen)
        bad.ask("events", 1)
        reply(machine, await gateway.request(), {"subscription": "s"})
        await bad.receive()
        bad.writer.transport.pause_reading()  # type: ignore[attr-defined]
        value = {"subscription": "s", "value": "x" * 100_000}
        line = json.dumps({"jsonrpc": "2.0", "method": "stream", "params": value}).encode() + b"\n"
        for _ in range(100):
            machine.write(line)
            await machine.drain()
        cancel = await gateway.request()
        assert (cancel["method"], cancel["params"]) == ("stream.cancel", {"subscription": "s"})
        await answered(good, gateway, machine)

    play(tmp_path, story, RelayLimits(output=1_000_000))


def test_a_client_that_asks_too_much_waits_and_the_others_do_not(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        greedy, modest = await Client.open(relay.listen), await Client.open(relay.listen)
        for number in range(100):
            greedy.ask("a", number)
        first = [await gateway.request() for _ in range(4)]
        modest.ask("b", 1)
        request = await gateway.request()
        assert request["method"] == "b"
        reply(machine, request, "quick")
        assert (await modest.receive())["result"] == "quick"
        for request in first:
            reply(machine, request, None)
        for _ in range(96):
            reply(machine, await gateway.request(), None)
        assert sorted([(await greedy.receive())["id"] for _ in range(100)]) == list(range(100))

    play(tmp_path, story, RelayLimits(in_flight=4))


def test_a_client_that_has_said_all_still_gets_its_answers(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        client = await Client.open(relay.listen)
        client.ask("a", 1)
        client.writer.write_eof()
        reply(machine, await gateway.request(), "late")
        assert (await client.receive())["result"] == "late"
        assert await client.receive() is None

    play(tmp_path, story)


def test_requests_fail_at_once_while_the_port_is_closed(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        client = await Client.open(relay.listen)
        client.ask("a", 1)
        assert (await client.receive())["error"]["data"]["code"] == "unavailable"
        relay.port_opened()
        await answered(client, gateway, machine)
        client.ask("b", 2)
        await gateway.request()
        relay.port_closed()
        lost = await client.receive()
        assert (lost["id"], lost["error"]["data"]["code"]) == (2, "unavailable")
        machine.write(b'{"half a line of the gateway that died')
        relay.port_opened()
        machine.write(b"\n")
        await answered(client, gateway, machine)

    play(tmp_path, story, await_port=True)


def test_the_relay_finds_a_machine_that_comes_back(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        client = await Client.open(relay.listen)
        client.ask("a", 1)
        await gateway.request()
        machine.close()
        assert (await client.receive())["error"]["data"]["code"] == "unavailable"
        again = await gateway.connections.get()
        await answered(client, gateway, again)
        again.close()

    play(tmp_path, story)


def test_too_many_clients_are_refused_with_a_reason(tmp_path: Path) -> None:
    async def story(relay: Relay, gateway: Gateway, machine: asyncio.StreamWriter) -> None:
        first = await Client.open(relay.listen)
        await answered(first, gateway, machine)
        second = await Client.open(relay.listen)
        assert (await second.receive())["error"]["data"]["code"] == "unavailable"
        assert await second.receive() is None
        first.writer.close()
        await first.writer.wait_closed()

    play(tmp_path, story, RelayLimits(clients=1))

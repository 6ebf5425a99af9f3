"""The vsock listener and its clients, over the loopback transport where this kernel has one."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from nullbox.rpc.aio import AsyncClient
from nullbox.rpc.call import Call
from nullbox.rpc.client import Client, address_of
from nullbox.rpc.server import LineServer, peer_of

LOOPBACK = 1
PORT = 0x6E620000


def no_loopback() -> str:
    """Why this cannot be tried here; empty if it can."""
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as listener:
            listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
            listener.listen(1)
            with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as probe:
                probe.settimeout(0.5)
                probe.connect((LOOPBACK, listener.getsockname()[1]))
    except OSError as error:
        return f"this kernel has no vsock loopback: {error}"
    return ""


MISSING = no_loopback()


@pytest.mark.parametrize(
    ("where", "family", "address"),
    [
        ("vsock:3:9110", socket.AF_VSOCK, (3, 9110)),
        ("/run/nulld.sock", socket.AF_UNIX, "/run/nulld.sock"),
        ("vsock:x:1", socket.AF_UNIX, "vsock:x:1"),
        ("vsock:3", socket.AF_UNIX, "vsock:3"),
        ("./vsock:3:4", socket.AF_UNIX, "./vsock:3:4"),
    ],
)
def test_where_a_server_is(where: str, family: int, address: Any) -> None:
    assert address_of(where) == (family, address)


@pytest.mark.skipif(bool(MISSING), reason=MISSING)
def test_calls_over_vsock_know_the_peers_machine() -> None:
    async def handle(call: Call) -> Any:
        return [call.peer.cid, call.peer.uid, call.peer.channel]

    async def main() -> tuple[Any, Any]:
        server = LineServer(handle)
        await server.listen_vsock(PORT)
        where = f"vsock:{LOOPBACK}:{PORT}"
        async with AsyncClient(where) as client:
            first = await client.call("who")

        def ask() -> Any:
            with Client(where) as client:
                return client.call("who")

        second = await asyncio.to_thread(ask)
        await server.close()
        return first, second

    assert asyncio.run(main()) == ([LOOPBACK, None, "vsock"],) * 2


class Accepted:
    """What accept(2) gives for a vsock connection, as far as it is asked."""

    family = socket.AF_VSOCK

    def __init__(self, cid: int) -> None:
        self._cid = cid

    def getpeername(self) -> tuple[int, int]:
        return self._cid, 1024


def test_the_kernel_says_which_machine_it_is() -> None:
    peer = peer_of(Accepted(2), "vsock")  # type: ignore[arg-type]
    assert (peer.cid, peer.uid, peer.gid, peer.pid, peer.channel) == (2, None, None, None, "vsock")


def cannot_listen() -> str:
    try:
        with socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM) as listener:
            listener.bind((socket.VMADDR_CID_ANY, socket.VMADDR_PORT_ANY))
    except OSError as error:
        return f"this kernel has no vsock: {error}"
    return ""


@pytest.mark.skipif(bool(cannot_listen()), reason=cannot_listen() or "it can")
def test_a_port_is_taken_once_and_free_again_after() -> None:
    async def handle(call: Call) -> Any:
        return None

    async def main() -> None:
        for _ in range(2):
            server, second = LineServer(handle), LineServer(handle)
            await server.listen_vsock(PORT)
            with pytest.raises(OSError, match="in use"):
                await second.listen_vsock(PORT)
            await server.close()

    asyncio.run(main())

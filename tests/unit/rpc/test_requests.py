"""The requests of one connection, by themselves."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Coroutine
from typing import Any

from nullbox.protocols.jsonrpc import Request
from nullbox.rpc.call import Call, Peer
from nullbox.rpc.limits import Limits
from nullbox.rpc.requests import Requests
from nullbox.rpc.server import LineServer
from nullbox.rpc.subscriptions import Subscriptions


def test_what_is_dropped_before_it_has_begun_is_not_left_unawaited() -> None:
    asked: list[Coroutine[Any, Any, None]] = []

    async def never() -> None:
        await asyncio.Event().wait()

    def handle(call: Call) -> Any:
        asked.append(never())
        return asked[-1]

    async def main() -> None:
        streams = Subscriptions(Limits(), lambda line: None, asyncio.Event())
        requests = Requests(LineServer(handle), streams, lambda answer: None, lambda: None)
        requests.begin(Request("wait", {}, 1), Peer())
        requests.drop()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    asyncio.run(main())
    assert [inspect.getcoroutinestate(each) for each in asked] == [inspect.CORO_CLOSED]

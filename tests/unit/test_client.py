"""The two clients: the same methods, an answer for each from a real gateway, a docstring for each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gateway_system import System, running

from nullbox.client import AsyncNulld, NullBoxError, Nulld, Unreachable
from nullbox.gateway.methods import METHODS

NOT_WRAPPED = {"rpc.discover"}
"""Methods for `call`: nothing of NullBox's own uses them."""


@pytest.fixture
def system() -> Iterator[System]:
    with running() as system:
        yield system


def public(cls: type) -> dict[str, Any]:
    return {name: value for name, value in vars(cls).items() if not name.startswith("_") and callable(value)}


def test_both_clients_have_the_same_methods() -> None:
    sync, asynchronous = public(Nulld), public(AsyncNulld)
    assert set(sync) == set(asynchronous)
    for name, function in sync.items():
        left = set(inspect.signature(function).parameters) - {"progress"}
        assert left == set(inspect.signature(asynchronous[name]).parameters), name
        assert function.__doc__ or name in ("close",), f"Nulld.{name} has no docstring"


def test_every_method_of_the_protocol_has_one_here() -> None:
    wrapped = set(public(Nulld))
    assert {name.replace(".", "_") for name in METHODS if name not in NOT_WRAPPED} <= wrapped


def test_every_question_is_answered_alike(system: System) -> None:
    system.backend.record("started", "cage:pulse")
    questions: list[tuple[str, tuple[Any, ...]]] = [
        ("version", ()),
        ("tree", ()),
        ("agent_list", ()),
        ("agent_inspect", ("pulse",)),
        ("agent_stats", ("pulse",)),
        ("agent_wait", ("pulse",)),
        ("agent_pause", ("pulse",)),
        ("agent_resume", ("pulse",)),
        ("ctx_query", ("pulse.", 2, None, "desc")),
        ("ctx_read", ("0" * 63 + "1",)),
        ("ctx_latest", ("pulse.count",)),
        ("ctx_agents", ()),
        ("ctx_status", ()),
        ("ctx_search", ("red",)),
        ("ctx_by_agent", ("pulse",)),
        ("ctx_graph", ("0" * 63 + "3",)),
        ("ctx_root", ()),
        ("ctx_prove", (2,)),
        ("ctx_prove", ("0" * 63 + "2",)),
        ("ctx_consistency", (1,)),
        ("egress_rules", ("pulse",)),
        ("egress_explain", ("pulse", "example.com")),
        ("egress_log", ()),
        ("egress_flush_dns", ("pulse",)),
    ]

    async def ask_all() -> list[Any]:
        async with AsyncNulld(system.socket) as nulld:
            return [await getattr(nulld, name)(*args) for name, args in questions]

    with Nulld(system.socket) as nulld:
        assert [getattr(nulld, name)(*args) for name, args in questions] == asyncio.run(ask_all())


def test_streams(system: System, tmp_path: Path) -> None:
    path = system.layout.agent_log("pulse")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("2026-11-24T17:00:00.000Z one\n2026-11-24T17:00:01.000Z two\n")

    async def main() -> None:
        async with AsyncNulld(system.socket) as nulld, asyncio.timeout(20):
            assert [line["text"] async for line in nulld.agent_logs("pulse")] == ["one", "two"]
            assert [entry["seq"] async for entry in nulld.ctx_watch()] == [1, 2, 3]
            async for event in nulld.events_follow():
                assert event["kind"] == "boot"
                break
            assert (await nulld.status())["healthy"]

    asyncio.run(main())


def test_refusals_and_absence(tmp_path: Path, system: System) -> None:
    async def main() -> None:
        async with AsyncNulld(system.socket) as nulld:
            with pytest.raises(NullBoxError, match="did you mean"):
                await nulld.agent_stop("puls")
        async with AsyncNulld(tmp_path / "none.sock") as nulld:
            with pytest.raises(Unreachable):
                await nulld.status()

    asyncio.run(main())
    with pytest.raises(Unreachable), Nulld(tmp_path / "none.sock") as nulld:
        nulld.status()


def test_leaving_a_stream_that_has_ended_meanwhile_is_no_error(system: System) -> None:
    """Its end is on the way, so the server knows of no such subscription when it is cancelled."""
    with Nulld(system.socket) as nulld:
        for _ in range(20):
            with nulld.stream("ctx.export", prefix="pulse.") as lines:
                assert lines.next()
                nulld.version()  # by its answer the rest of the stream has come, too
        assert nulld.status()["healthy"]

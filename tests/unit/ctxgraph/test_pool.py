"""Readers in threads: made when there is something to read, used again, closed; and where a store may lie."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from nullbox.ctxgraph.access import host_rights
from nullbox.ctxgraph.pool import ReaderPool
from nullbox.ctxgraph.reader import Reader
from nullbox.ctxgraph.store import Store
from nullbox.protocols.errors import NullBoxError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "a b?c#d%20e&é\udcff" / "store.sqlite"
    found.parent.mkdir()
    Store(found).close()
    return found


async def sizes(pool: ReaderPool, count: int) -> list[Reader]:
    """The readers that `count` questions at a time were answered with."""
    return await asyncio.gather(*(pool.run(host_rights(), lambda reader: reader) for _ in range(count)))


def test_readers_are_made_when_there_is_something_to_read(path: Path) -> None:
    made: list[Reader] = []

    async def use() -> None:
        pool = ReaderPool(path, "test", 2, 5.0)
        assert made == pool._all == []
        for _ in range(3):
            made.extend(await sizes(pool, 1))
        assert len(pool._all) == 1 and set(made) == set(pool._all)
        await sizes(pool, 20)
        assert len(pool._all) <= 2
        await pool.close()

    asyncio.run(use())


def test_a_store_that_cannot_be_read_does_not_cost_a_thread(path: Path) -> None:
    async def use() -> None:
        pool = ReaderPool(path.with_name("missing"), "test", 1, 5.0)
        for _ in range(2):
            with pytest.raises(NullBoxError):
                await sizes(pool, 1)
        path.rename(path.with_name("missing"))
        assert len(await sizes(pool, 1)) == 1
        await pool.close()

    asyncio.run(use())

"""Stores and services in temporary folders, and clients of theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ctx_clients import Client

from nullbox.ctxgraph.batch import Ack, Op, Write
from nullbox.ctxgraph.canonical import canonical
from nullbox.ctxgraph.entry import entry_hash
from nullbox.ctxgraph.service import CtxgraphService
from nullbox.ctxgraph.store import Store
from nullbox.guest.nullbox_agent import Ctx
from nullbox.protocols.layout import Layout


def make_write(agent: str, key: str, value: Any, **options: Any) -> Write:
    text = canonical(value)
    return Write(agent, key, entry_hash(agent, key, text), text, **options)


def acknowledged(store: Store, *ops: Op) -> list[Ack]:
    outcomes = store.apply(ops)
    for outcome in outcomes:
        if not isinstance(outcome, Ack):
            raise outcome
    return [outcome for outcome in outcomes if isinstance(outcome, Ack)]


@pytest.fixture(scope="session")
def write() -> Callable[..., Write]:
    """`write(agent, key, value, **options)` → the operation."""
    return make_write


@pytest.fixture(scope="session")
def put() -> Callable[..., list[Ack]]:
    """`put(store, *ops)` → acknowledgements, raising the first refusal."""
    return acknowledged


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ctxgraph.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[Store]:
    opened = Store(path)
    yield opened
    opened.close()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return Layout(run=tmp_path / "r", state=tmp_path / "s")


@pytest.fixture
def service(layout: Layout) -> Iterator[CtxgraphService]:
    running = CtxgraphService()
    running.start(layout)
    yield running
    running.stop()


@pytest.fixture
def agent(service: CtxgraphService) -> Iterator[Client]:
    """`agent(name, read=…, write=…)` → a client on that agent's socket."""
    clients: list[Ctx] = []

    def connect(name: str, read: tuple[str, ...] = ("",), write: tuple[str, ...] = ("",)) -> Ctx:
        path = service.open_channel(name, list(read), list(write))
        clients.append(Ctx(str(path), timeout=20.0, patience=10.0))
        return clients[-1]

    yield connect
    for client in clients:
        client.close()


@pytest.fixture
def host(service: CtxgraphService, layout: Layout) -> Iterator[Ctx]:
    client = Ctx(str(layout.ctx_host_socket))
    yield client
    client.close()
